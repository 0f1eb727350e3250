"""Which form of an answer a client gets of those that it accepts (PS3.18 sections 8.7.3, 8.7.4)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from darkroom_api.dicomweb.accept import MediaRange
from darkroom_api.rendering.appearance import KINDS
from darkroom_common.dicom.syntaxes import EXPLICIT_LITTLE, MEDIA_TYPES, NATIVE, OCTETS, RLE

_4: Final = "1.2.840.10008.1.2.4."
MADE_FRAMES: Final = {
    OCTETS: (EXPLICIT_LITTLE,),
    "image/jpeg": (f"{_4}70", f"{_4}50"),
    "image/dicom-rle": (RLE,),
    "image/jls": (f"{_4}80",),
    "image/jp2": (f"{_4}90",),
    "image/jphc": (f"{_4}201",),
}
"""What frames can be made into, by media type; the default of it first (table 8.7.3-5)."""
DECODED: Final = frozenset(
    {RLE, *(f"{_4}{n}" for n in ("50", "51", "57", "70", "80", "81", "90", "91", "201", "202"))}
    | {f"{_4}{n}" for n in ("110", "111", "112", "203")}
)
"""Transfer syntaxes that can be decoded, of those whose frames are compressed."""
MADE_OBJECTS: Final = (
    EXPLICIT_LITTLE,
    "1.2.840.10008.1.2",
    f"{_4}90",
    f"{_4}70",
    f"{_4}80",
    f"{_4}201",
    RLE,
)
"""What objects can be made into, without loss."""


@dataclass(frozen=True)
class FrameForm:
    """How frames are answered.

    Attributes:
        kind: media type of the parts.
        syntaxes: to make, the best first; none: as they are stored.
        single: whether the one frame is the body by itself.
    """

    kind: str
    syntaxes: tuple[str, ...] = ()
    single: bool = False


def frame_forms(ranges: Sequence[MediaRange], stored: str, *, one: bool) -> Iterator[FrameForm]:
    """Yield the forms of frames that a client takes, the one that it likes best first.

    Of equally liked ones (section 8.7.5) what is stored comes first, under its own media type or as
    octets; as octets only when the client names their transfer syntax, or any: without a name they
    are Explicit VR Little Endian (section 8.7.3.3.2).

    Args:
        ranges: what is accepted, best first.
        stored: transfer syntax of the object.
        one: whether one frame is asked for, which then may be the whole body.
    """
    for _, alike in groupby(ranges, lambda wanted: wanted.quality):
        liked = list(alike)
        yield from _stored_forms(liked, stored, one=one)
        if stored in NATIVE or stored in DECODED:
            yield from _made_forms(liked, one=one)


def stored_form(ranges: Sequence[MediaRange], stored: str) -> FrameForm | None:
    """Return how frames go out in parts as they are stored; None when the client takes no such."""
    return next(_stored_forms(ranges, stored, one=False), None)


def _stored_forms(ranges: Sequence[MediaRange], stored: str, *, one: bool) -> Iterator[FrameForm]:
    native = stored in NATIVE
    own = MEDIA_TYPES.get(stored, OCTETS)
    names = {EXPLICIT_LITTLE, stored} if native else {stored}
    for wanted in ranges:
        if not wanted.takes_syntax(*names):
            continue
        for single, takes in _ways(wanted, one=one):
            if own != OCTETS and takes(own):
                yield FrameForm(own, single=single)
            named = wanted.transfer_syntax is not None or wanted.is_any
            if takes(OCTETS) and (native or named):
                yield FrameForm(OCTETS, single=single)


def _made_forms(ranges: Sequence[MediaRange], *, one: bool) -> Iterator[FrameForm]:
    for wanted in ranges:
        for single, takes in _ways(wanted, one=one):
            for kind, makes in MADE_FRAMES.items():
                made = _made(wanted, makes)
                if made and takes(kind):
                    yield FrameForm(kind, made, single=single)


def _made(wanted: MediaRange, makes: tuple[str, ...]) -> tuple[str, ...]:
    if wanted.transfer_syntax in (None, "*"):
        return makes[:1]
    return tuple(one for one in makes if one == wanted.transfer_syntax)


def _ways(wanted: MediaRange, *, one: bool) -> Iterator[tuple[bool, Callable[[str], bool]]]:
    yield False, wanted.takes_parts
    if one:
        yield True, wanted.takes


@dataclass(frozen=True)
class ImageForm:
    """How rendered images are answered.

    Attributes:
        kind: media type of each.
        single: whether there is one image, the body by itself.
    """

    kind: str
    single: bool


def image_form(ranges: Sequence[MediaRange], *, one: bool) -> ImageForm | None:
    """Return the form of rendered images that a client likes best; None when none suits.

    A client that takes single images only, and asks for several, gets them as parts.

    Args:
        ranges: what is accepted, best first.
        one: whether there is one image, or all of them make one GIF.
    """
    for wanted in ranges:
        for kind in KINDS:
            if wanted.takes(kind):
                return ImageForm(kind, single=one)
            if wanted.takes_parts(kind):
                return ImageForm(kind, single=False)
    return None


def object_syntaxes(ranges: Sequence[MediaRange], stored: str) -> tuple[str, ...] | None:
    """Return what an object is to be made into, the best first; empty: it is right as it is.

    Its own transfer syntax is the last when it is right, too, but others are liked better. None
    when the client takes nothing that can be made of it.

    Args:
        ranges: those that take objects, best first; one without a transfer syntax takes every one.
        stored: its transfer syntax.
    """
    own = next((one.quality for one in ranges if one.takes_syntax(stored)), 0.0)
    better = [one for one in ranges if one.quality > own]
    can = stored in NATIVE or stored in DECODED
    named = dict.fromkeys(one.transfer_syntax for one in better) if can else {}
    made = tuple(one for one in named if one in MADE_OBJECTS)
    if own > 0:
        return (*made, stored) if made else ()
    return made or None
