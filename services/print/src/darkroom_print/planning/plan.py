"""From an order and a printer to films: how each is made, and what the printer is told of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from pydicom.dataset import Dataset

from darkroom_common.errors import PermanentError
from darkroom_common.specs.film_layouts import parse_layout
from darkroom_common.specs.films import FilmOrder
from darkroom_print.composing.sheet import places
from darkroom_print.planning.film import (
    Colour,
    Density,
    FilmPlan,
    Magnification,
    Mode,
    Orientation,
    Polarity,
    film_size,
)
from darkroom_print.planning.image_boxes import pages
from darkroom_print.planning.presentation_lut import IDENTITY, LutShape, PresentationLut
from darkroom_print.printers.profiles import Profile

T = TypeVar("T")
_ONE_BOX: Final = "STANDARD\\1,1"
_LUT_BITS: Final = range(10, 17)


class CannotPrint(PermanentError):
    """The printer cannot do what the order asks for. The text says what."""


@dataclass(frozen=True)
class Plan:
    """How the films of an order are made.

    Attributes:
        film: of each.
        boxes: images on one.
        count: of films.
        session: attributes of the film session (C.13.1).
        film_box: of the film box (C.13.3).
        image_box: of each image box beside its pixels (C.13.5).
        lut: a Presentation LUT for the printer, if it applies one.
    """

    film: FilmPlan
    boxes: int
    count: int
    session: Dataset
    film_box: Dataset
    image_box: Dataset
    lut: Dataset | None
    annotations: tuple[tuple[int, str], ...]

    @property
    def has_boxes(self) -> bool:
        """Whether the printer is to arrange images in a format of its own."""
        return str(self.film_box.ImageDisplayFormat) != _ONE_BOX


def plan(order: FilmOrder, printer: Profile, *, images: int) -> Plan:
    """Plan the films.

    Raises:
        CannotPrint: a value is not among those of the printer.
        InvalidFilm: the values do not make a film.
        InvalidLayout: the layout cannot be used.
    """
    layout = parse_layout(order.layout)
    size = order.film_size or printer.film_sizes[0]
    if size not in printer.film_sizes:
        raise CannotPrint(f"film_size: the printer has {', '.join(printer.film_sizes)}")
    if order.medium and printer.media and order.medium not in printer.media:
        raise CannotPrint(f"medium: the printer has {', '.join(printer.media)}")
    if (
        order.film_destination
        and printer.film_destinations
        and order.film_destination not in printer.film_destinations
    ):
        known = ", ".join(printer.film_destinations)
        raise CannotPrint(f"film_destination: the printer has {known}")
    colour = printer.colour if order.colour is None else order.colour
    if colour and not printer.colour:
        raise CannotPrint("colour: the printer has none")
    bits = order.bits or printer.bits
    if bits > printer.bits:
        raise CannotPrint(f"bits: the printer takes {printer.bits}")
    if colour or "eight-bit-only" in printer.quirks:
        bits = 8
    known_layout = layout.image_display_format in printer.display_formats
    if order.arrange == "printer" and not known_layout:
        raise CannotPrint("layout: the printer does not know it; arrange it by sheet")
    by_printer = known_layout and order.arrange != "sheet"
    sent, burned = _presentation_lut(order, printer)
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
    boxes = len(places(film))
    if order.annotations and not _annotates(printer):
        raise CannotPrint("annotations: the printer has no annotation boxes; use header or footer")
    asked_format = layout.image_display_format if by_printer else _ONE_BOX
    return Plan(
        film,
        boxes,
        pages(images, boxes),
        session=_session(order),
        film_box=_film_box(order, printer, size, asked_format),
        image_box=_image_box(printer),
        lut=sent,
        annotations=tuple((one.position, one.text) for one in order.annotations),
    )


def _annotates(printer: Profile) -> bool:
    return bool(printer.annotation_format) and not (
        {"meta-only", "no-annotation"} & set(printer.quirks)
    )


def _presentation_lut(order: FilmOrder, printer: Profile) -> tuple[Dataset | None, PresentationLut]:
    """Return what the printer is sent and what is burned in; one of them does nothing."""
    asked = order.presentation_lut
    can = printer.presentation_lut and not (
        {"meta-only", "no-presentation-lut"} & set(printer.quirks)
    )
    if not can or (asked.table and asked.bits not in _LUT_BITS):
        lut = PresentationLut(LutShape(asked.shape), asked.table, asked.bits)
        return None, IDENTITY if lut == PresentationLut(bits=asked.bits) else lut
    made = Dataset()
    if asked.table:
        item = Dataset()
        item.add_new(0x00283002, "US", [len(asked.table) % 65_536, 0, asked.bits])
        item.add_new(0x00283006, "US", list(asked.table))
        made.PresentationLUTSequence = [item]
    else:
        made.PresentationLUTShape = asked.shape
    return made, IDENTITY


def _session(order: FilmOrder) -> Dataset:
    session = Dataset()
    session.NumberOfCopies = str(order.copies)
    if order.print_priority:
        session.PrintPriority = order.print_priority
    if order.medium:
        session.MediumType = order.medium
    if order.film_destination:
        session.FilmDestination = order.film_destination
    return session


def _film_box(order: FilmOrder, printer: Profile, size: str, display_format: str) -> Dataset:
    box = Dataset()
    box.ImageDisplayFormat = display_format
    box.FilmOrientation = order.orientation
    box.FilmSizeID = size
    if order.magnification and "no-magnification" not in printer.quirks:
        box.MagnificationType = order.magnification
    if "no-densities" not in printer.quirks:
        densities = {
            "BorderDensity": order.border_density,
            "EmptyImageDensity": order.empty_image_density,
            "MinDensity": order.min_density,
            "MaxDensity": order.max_density,
        }
        for keyword, value in densities.items():
            if value is not None:
                setattr(box, keyword, value)
    if order.trim and "no-trim" not in printer.quirks:
        box.Trim = "YES"
    if order.annotations:
        box.AnnotationDisplayFormatID = printer.annotation_format
    return box


def _image_box(printer: Profile) -> Dataset:
    image = Dataset()
    if "no-polarity" not in printer.quirks:
        image.Polarity = "NORMAL"  # burned in, so that the preview shows it
    return image


def of_film(pictures: Sequence[T], number: int, boxes: int) -> Sequence[T]:
    """Return the pictures of a film, from 1."""
    return pictures[(number - 1) * boxes : number * boxes]
