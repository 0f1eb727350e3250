"""From an order and a printer to films: how each is made, and what the printer is told of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydicom.dataset import Dataset

from darkroom_common.films.film import FilmPlan
from darkroom_common.films.fitting import ONE_BOX, FittedFilm, fit
from darkroom_common.films.image_boxes import pages
from darkroom_common.films.profiles import Profile
from darkroom_common.specs.films import FilmOrder

T = TypeVar("T")


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
        return str(self.film_box.ImageDisplayFormat) != ONE_BOX


def plan(order: FilmOrder, printer: Profile, *, images: int) -> Plan:
    """Plan the films.

    Raises:
        CannotPrint: a value is not among those of the printer.
        InvalidFilm: the values do not make a film.
        InvalidLayout: the layout cannot be used.
    """
    fitted = fit(order, printer)
    return Plan(
        fitted.film,
        fitted.boxes,
        pages(images, fitted.boxes),
        session=_session(order),
        film_box=_film_box(order, printer, fitted),
        image_box=_image_box(printer),
        lut=_presentation_lut(order) if fitted.sends_lut else None,
        annotations=tuple((one.position, one.text) for one in order.annotations),
    )


def _presentation_lut(order: FilmOrder) -> Dataset:
    asked = order.presentation_lut
    made = Dataset()
    if asked.table:
        item = Dataset()
        item.add_new(0x00283002, "US", [len(asked.table) % 65_536, 0, asked.bits])
        item.add_new(0x00283006, "US", list(asked.table))
        made.PresentationLUTSequence = [item]
    else:
        made.PresentationLUTShape = asked.shape
    return made


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


def _film_box(order: FilmOrder, printer: Profile, fitted: FittedFilm) -> Dataset:
    box = Dataset()
    box.ImageDisplayFormat = fitted.display_format
    box.FilmOrientation = order.orientation
    box.FilmSizeID = fitted.film.size.name
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
