"""Whether a printer can make the films of an order, and how: asked before 202 and before printing.

Both ask here, so that what print would refuse is refused while somebody still waits for the answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from darkroom_common.errors import PermanentError
from darkroom_common.films.film import (
    Colour,
    Density,
    FilmPlan,
    Magnification,
    Mode,
    Orientation,
    Polarity,
    film_size,
)
from darkroom_common.films.image_boxes import places
from darkroom_common.films.presentation_lut import IDENTITY, LutShape, PresentationLut
from darkroom_common.films.profiles import Profile
from darkroom_common.specs.film_layouts import Layout, parse_layout
from darkroom_common.specs.films import FilmImage, FilmOrder

ONE_BOX: Final = "STANDARD\\1,1"
_LUT_BITS: Final = range(10, 17)


class CannotPrint(PermanentError):
    """The printer cannot do what the order asks for. The text says what."""


class Stored(Protocol):
    """An instance as far as a film is concerned; `darkroom_common.index.objects` has them."""

    @property
    def pixel_rows(self) -> int | None:
        """None: it has no pixels."""
        ...

    @property
    def frames(self) -> int:
        """How many there are."""
        ...


class ImageMissing(PermanentError):
    """An image is not in the index (any more), or has no such frame. The text says which."""


@dataclass(frozen=True)
class FittedFilm:
    """How each film of an order is made on a printer.

    Attributes:
        film: what is composed.
        boxes: images on one.
        display_format: Image Display Format (2010,0010) that the printer is asked for.
        sends_lut: whether the printer applies the Presentation LUT; else it is burned in.
    """

    film: FilmPlan
    boxes: int
    display_format: str
    sends_lut: bool


def fit(order: FilmOrder, printer: Profile) -> FittedFilm:
    """Return how films of an order are made.

    Raises:
        CannotPrint: a value is not among those of the printer.
        InvalidFilm: the values do not make a film.
        InvalidLayout: the layout cannot be used, or has no room for its boxes.
    """
    layout = parse_layout(order.layout)
    size = _one_of("film_size", order.film_size or printer.film_sizes[0], printer.film_sizes)
    _one_of("medium", order.medium, printer.media)
    _one_of("film_destination", order.film_destination, printer.film_destinations)
    colour, bits = _samples(order, printer)
    by_printer = _by_printer(order, printer, layout)
    sends_lut, burned = _presentation_lut(order, printer)
    if order.annotations and not _annotates(printer):
        raise CannotPrint("annotations: the printer has no annotation boxes; use header or footer")
    film = FilmPlan(
        size=film_size(size),
        layout=layout,
        mode=Mode.BOXES if by_printer else Mode.SHEET,
        orientation=Orientation(order.orientation),
        dpi=printer.dpi,
        bits=bits,
        colour=Colour.RGB if colour else Colour.MONOCHROME2,
        polarity=Polarity(order.polarity),
        magnification=Magnification(order.magnification or "CUBIC"),
        border_density=Density(order.border_density or "BLACK"),
        empty_image_density=Density(order.empty_image_density or "BLACK"),
        trim=order.trim and not by_printer,
        true_size=order.true_size,
        header=order.header,
        footer=order.footer,
        patient_box=order.patient_box,
        scale_bar=order.scale_bar,
        overlays=order.overlays,
        presentation_lut=burned,
        min_density=20 if order.min_density is None else order.min_density,
        max_density=300 if order.max_density is None else order.max_density,
    )
    display_format = layout.image_display_format if by_printer else ONE_BOX
    return FittedFilm(film, len(places(film)), display_format, sends_lut)


def require_images(images: Sequence[FilmImage], known: Mapping[str, Stored]) -> None:
    """Refuse images that cannot be printed.

    Args:
        images: of an order.
        known: what the index has of them, by UID.

    Raises:
        ImageMissing: one is not there, has no pixels, or has no such frame.
    """
    for number, image in enumerate(images, 1):
        one = known.get(image.sop_instance_uid)
        if one is None:
            raise ImageMissing(f"image {number}: there is no such instance")
        if one.pixel_rows is None:
            raise ImageMissing(f"image {number}: the instance has no pixels")
        if image.frame > one.frames:
            raise ImageMissing(f"image {number}: it has {one.frames} frames")


def _one_of(field: str, asked: str | None, known: tuple[str, ...]) -> str:
    """Return a value that the printer has; a printer that names none takes any."""
    if asked and known and asked not in known:
        raise CannotPrint(f"{field}: the printer has {', '.join(known)}")
    return asked or ""


def _samples(order: FilmOrder, printer: Profile) -> tuple[bool, int]:
    """Return whether the film has colours, and the bits of a sample."""
    colour = printer.colour if order.colour is None else order.colour
    if colour and not printer.colour:
        raise CannotPrint("colour: the printer has none")
    bits = order.bits or printer.bits
    if bits > printer.bits:
        raise CannotPrint(f"bits: the printer takes {printer.bits}")
    return colour, 8 if colour or "eight-bit-only" in printer.quirks else bits


def _by_printer(order: FilmOrder, printer: Profile, layout: Layout) -> bool:
    known = layout.image_display_format in printer.display_formats
    if order.arrange == "printer" and not known:
        raise CannotPrint("layout: the printer does not know it; arrange it by sheet")
    return known and order.arrange != "sheet"


def _annotates(printer: Profile) -> bool:
    return bool(printer.annotation_format) and not (
        {"meta-only", "no-annotation"} & set(printer.quirks)
    )


def _presentation_lut(order: FilmOrder, printer: Profile) -> tuple[bool, PresentationLut]:
    """Return whether the printer is sent the table or shape, and what is burned in instead."""
    asked = order.presentation_lut
    can = printer.presentation_lut and not (
        {"meta-only", "no-presentation-lut"} & set(printer.quirks)
    )
    if can and not (asked.table and asked.bits not in _LUT_BITS):
        return True, IDENTITY
    lut = PresentationLut(LutShape(asked.shape), asked.table, asked.bits)
    return False, IDENTITY if lut == PresentationLut(bits=asked.bits) else lut
