"""What the service and its composing workers say to each other; nothing here reads images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from darkroom_common.errors import PermanentError
from darkroom_common.films.film import FilmPlan
from darkroom_print.images.picture import Picture


class CannotCompose(PermanentError):
    """A film cannot be made of these images, and never will. The text has no PHI.

    Attributes:
        picture: index of the image that is at fault; None when it is none.
    """

    def __init__(self, reason: str, picture: int | None = None) -> None:
        super().__init__(reason if picture is None else f"image {picture + 1}: {reason}")
        self.picture = picture


@dataclass(frozen=True, slots=True)
class BoxTask:
    """Draw one picture into its box of a sheet.

    Attributes:
        sheet: a file of the sheet's samples, rows by columns, little endian.
        position: of the box.
    """

    plan: FilmPlan
    sheet: Path
    picture: Picture
    position: int


@dataclass(frozen=True, slots=True)
class PageTask:
    """Draw all of a sheet but the pictures: border, empty boxes, header and footer.

    Attributes:
        sheet: a file that is made.
        first: the picture of which header and footer speak.
        filled: positions that get a picture.
    """

    plan: FilmPlan
    sheet: Path
    first: Picture | None
    filled: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a worker answers.

    Attributes:
        unprintable: characters that no font has.
        warnings: what of the image's header could not be followed.
        error: why it could not be done; empty when it was.
        transient: whether the error is of the machine, not of the image.
    """

    unprintable: int = 0
    warnings: tuple[str, ...] = ()
    error: str = ""
    transient: bool = False


def in_words(boxes: Sequence[Drawn]) -> tuple[str, ...]:
    """Return the warnings of a film's images: each text once, with the images it is about."""
    about: dict[str, list[int]] = {}
    for number, box in enumerate(boxes, 1):
        for text in box.warnings:
            about.setdefault(text, []).append(number)
    return tuple(f"{_images(numbers)}: {text}" for text, numbers in about.items())


def _images(numbers: Sequence[int]) -> str:
    named = ", ".join(map(str, numbers[:_NAMED]))
    more = len(numbers) - _NAMED
    return f"image {named}" if more <= 0 else f"image {named} and {more} more"


_NAMED: Final = 5
"""Images that a warning names; of the others it has the number."""
TASK: Final[TypeAdapter[BoxTask | PageTask]] = TypeAdapter(BoxTask | PageTask)
DRAWN: Final = TypeAdapter(Drawn)
