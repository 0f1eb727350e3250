"""What the API and its rendering workers say to each other; nothing here reads objects."""

from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import Field, TypeAdapter

from darkroom_api.conformance.exchange import StatementTask
from darkroom_api.objects.exchange import MakeTask
from darkroom_api.rendering.appearance import Appearance


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object is.

    Attributes:
        key: in the store.
        syntax: that was negotiated.
        start: of the data set.
        size: of the data set.
        frames: number from 0, start and length of compressed frames, as far as they are known.
    """

    key: str
    syntax: str
    start: int
    size: int
    frames: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """One image of an object.

    Attributes:
        frames: numbers from 0; None: the one that represents it, or all for GIF.
        middle: whether the one in the middle represents it, when it does not say itself.
        kind: media type.
    """

    frames: tuple[int, ...] | None
    kind: str
    appearance: Appearance
    middle: bool = False


@dataclass(frozen=True, slots=True)
class RenderTask:
    """Render an image.

    Attributes:
        state: the presentation state that it is shown by.
    """

    place: Place
    picture: Picture
    state: Place | None = None


@dataclass(frozen=True, slots=True)
class FramesTask:
    """Hand out frames of an object in the first of some transfer syntaxes that can be made.

    Attributes:
        frames: numbers from 0; None: all.
        wanted: transfer syntaxes.
    """

    place: Place
    frames: tuple[int, ...] | None
    wanted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ObjectTask:
    """Hand out an object in the first of some transfer syntaxes that it can be said in."""

    place: Place
    wanted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """A line of a worker's answer.

    Attributes:
        length: bytes that follow the line.
        more: lines that follow those bytes, each with bytes of its own.
        syntax: transfer syntax of the bytes, if they have one.
        error: one of the words below; empty when it went well.
        reason: why, in words without PHI, for CANNOT.
    """

    length: int = 0
    more: int = 0
    syntax: str = ""
    error: str = ""
    reason: str = ""


CANNOT: Final = "cannot"
"""It cannot be done with this object, and never will."""
NO_FRAME: Final = "no-frame"
MISSING: Final = "missing"
STORE: Final = "store"

Task = RenderTask | FramesTask | ObjectTask | MakeTask | StatementTask
# The first that fits: to compare what all of them would make takes longer than to read one.
TASK: Final[TypeAdapter[Task]] = TypeAdapter(Annotated[Task, Field(union_mode="left_to_right")])
MADE: Final = TypeAdapter(Made)
