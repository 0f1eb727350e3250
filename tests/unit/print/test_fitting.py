"""What a printer cannot do of an order: refused alike before 202 and before printing."""

from typing import Any

import pytest

from darkroom_common.errors import PermanentError
from darkroom_common.films.film import Colour, Mode
from darkroom_common.films.fitting import (
    ONE_BOX,
    CannotPrint,
    FittedFilm,
    ImageMissing,
    fit,
    require_images,
)
from darkroom_common.films.presentation_lut import IDENTITY
from darkroom_common.films.profiles import Profile, profiles
from darkroom_common.index.objects import Picture
from darkroom_common.specs.films import FilmImage, FilmOrder
from darkroom_print.planning.plan import plan

GENERIC = profiles()["generic"]
PAPER = profiles()["colour-paper"]


@pytest.mark.req("PRN-05")
@pytest.mark.parametrize(
    ("order", "word"),
    [
        ({"layout": "nonsense"}, "layout"),
        ({"layout": "STANDARD\\0,9"}, "layout"),
        ({"layout": "STANDARD\\99,99"}, "image boxes"),
        ({"layout": "CUSTOM\\1"}, "CUSTOM"),
        ({"layout": "ROW\\1,2", "arrange": "printer"}, "layout"),
        ({"layout": "20x20", "header": "\n" * 1000, "arrange": "sheet"}, "room"),
        ({"film_size": "14INX36IN"}, "film_size"),
        ({"film_size": "A4"}, "film_size"),
        ({"medium": "GLASS"}, "medium"),
        ({"colour": True}, "colour"),
        ({"bits": 12}, "bits"),
        ({"annotations": ["a"]}, "annotations"),
        ({"min_density": 400}, "densities"),
        ({"max_density": 10}, "densities"),
    ],
)
def test_it_is_refused_by_both(order: dict[str, Any], word: str) -> None:
    asked = FilmOrder.model_validate(order)
    with pytest.raises(PermanentError, match=word):
        fit(asked, GENERIC)
    with pytest.raises(PermanentError, match=word):
        plan(asked, GENERIC, images=1)


@pytest.mark.parametrize("printer", profiles().values(), ids=profiles())
@pytest.mark.parametrize("orientation", ["PORTRAIT", "LANDSCAPE"])
def test_what_a_printer_has_is_taken(printer: Profile, orientation: str) -> None:
    for size in printer.film_sizes:
        for medium in (None, *printer.media):
            given = {"film_size": size, "medium": medium, "orientation": orientation}
            order = FilmOrder.model_validate(given)
            fitted = fit(order, printer)
            planned = plan(order, printer, images=3)
            assert (planned.film, planned.boxes) == (fitted.film, fitted.boxes)
            assert planned.film_box.FilmSizeID == size
            assert planned.film_box.FilmOrientation == orientation


def test_a_printer_that_names_no_media_takes_any() -> None:
    order = FilmOrder(medium="BLUE FILM", film_destination="BIN_1")
    assert fit(order, GENERIC.model_copy(update={"media": ()})).boxes == 1


def test_images_that_cannot_be_printed_are_named() -> None:
    known = {"1": Picture("1", "key", 512, 3), "2": Picture("2", "key", None, 1)}
    require_images([FilmImage(sop_instance_uid="1", frame=3)], known)
    for image, word in (
        (FilmImage(sop_instance_uid="1", frame=4), "3 frames"),
        (FilmImage(sop_instance_uid="2"), "no pixels"),
        (FilmImage(sop_instance_uid="3"), "no such instance"),
    ):
        with pytest.raises(ImageMissing, match=f"image 1: .*{word}"):
            require_images([image], known)


def fitted(changes: dict[str, Any] | None = None, **order: Any) -> FittedFilm:
    """Return how the films of an order are made on a printer like the generic one, but for this."""
    printer = GENERIC.model_copy(update=changes or {})
    return fit(FilmOrder.model_validate(order), printer)


def test_a_destination_that_the_printer_does_not_have_is_refused() -> None:
    with pytest.raises(CannotPrint, match="film_destination: the printer has BIN_1"):
        fitted({"film_destinations": ("BIN_1",)}, film_destination="BIN_2")
    assert fitted({"film_destinations": ("BIN_1",)}, film_destination="BIN_1").boxes == 1


def test_who_arranges_the_images_decides_what_is_composed() -> None:
    """The printer gets its own format and no edges; a sheet is one box, trimmed as asked."""
    layout = {"layout": "STANDARD\\2,2", "trim": True}
    by_printer = fitted({"display_formats": ("STANDARD\\2,2",)}, **layout)
    assert (by_printer.display_format, by_printer.boxes) == ("STANDARD\\2,2", 4)
    assert (by_printer.film.mode, by_printer.film.trim) == (Mode.BOXES, False)
    for sheet in (
        fitted({"display_formats": ("STANDARD\\2,2",)}, arrange="sheet", **layout),
        fitted({"display_formats": ("STANDARD\\1,1",)}, **layout),
    ):
        assert (sheet.display_format, sheet.boxes) == (ONE_BOX, 4)
        assert (sheet.film.mode, sheet.film.trim) == (Mode.SHEET, True)


@pytest.mark.parametrize("quirk", ["meta-only", "no-annotation"])
def test_annotations_need_a_printer_that_has_boxes_for_them(quirk: str) -> None:
    order = {"annotations": ["left"]}
    assert fitted({"annotation_format": "BOTTOM"}, **order).boxes == 1
    with pytest.raises(CannotPrint, match="annotations"):
        fitted({"annotation_format": "BOTTOM", "quirks": (quirk,)}, **order)


def test_samples_are_as_many_bits_as_the_printer_takes() -> None:
    assert fitted({"bits": 12}, bits=8).film.bits == 8
    assert fitted({"bits": 12}, bits=12).film.bits == 12
    assert fitted({"bits": 12}).film.bits == 12
    assert fitted({"bits": 12, "quirks": ("eight-bit-only",)}).film.bits == 8
    colour = fitted({"bits": 12, "colour": True})
    assert (colour.film.colour, colour.film.bits) == (Colour.RGB, 8)
    grey = fitted({"bits": 12, "colour": True}, colour=False)
    assert (grey.film.colour, grey.film.bits) == (Colour.MONOCHROME2, 12)


TABLE = {"shape": "TABLE", "table": list(range(16)), "bits": 8}
SHAPE = {"shape": "LIN OD"}
LONG = {"shape": "TABLE", "table": list(range(16)), "bits": 12}


@pytest.mark.parametrize(
    ("can", "quirks", "asked", "sent"),
    [
        (True, (), SHAPE, True),
        (True, (), LONG, True),
        (True, (), TABLE, False),  # PS3.3 C.11.4: entries of 10 to 16 bits
        (True, ("no-presentation-lut",), SHAPE, False),
        (True, ("meta-only",), SHAPE, False),
        (False, (), SHAPE, False),
        (False, (), LONG, False),
    ],
)
def test_a_table_is_applied_once_by_the_printer_or_burned_in(
    *, can: bool, quirks: tuple[str, ...], asked: dict[str, Any], sent: bool
) -> None:
    found = fitted({"presentation_lut": can, "quirks": quirks}, presentation_lut=asked)
    assert found.sends_lut is sent
    assert (found.film.presentation_lut == IDENTITY) is sent


def test_no_table_burns_nothing_in() -> None:
    assert fitted({"presentation_lut": False}).film.presentation_lut is IDENTITY
    whatever = fitted({"presentation_lut": False}, presentation_lut={"bits": 12})
    assert whatever.film.presentation_lut is IDENTITY


def test_densities_are_those_of_a_usual_film_unless_they_are_given() -> None:
    usual, given = fitted().film, fitted(min_density=0, max_density=250).film
    assert (usual.min_density, usual.max_density) == (20, 300)
    assert (given.min_density, given.max_density) == (0, 250)


def test_a_printer_is_sent_the_table_as_the_standard_has_it() -> None:
    """PS3.3 C.11.4: entries, first value mapped, bits of an entry; then the entries."""
    printer = GENERIC.model_copy(update={"presentation_lut": True})
    sent = plan(FilmOrder.model_validate({"presentation_lut": LONG}), printer, images=1).lut
    assert sent is not None
    (item,) = sent.PresentationLUTSequence
    assert list(item[0x00283002].value) == [16, 0, 12]
    assert list(item[0x00283006].value) == list(range(16))
    assert "PresentationLUTShape" not in sent
    shape = plan(FilmOrder.model_validate({"presentation_lut": SHAPE}), printer, images=1).lut
    assert shape is not None
    assert [element.keyword for element in shape] == ["PresentationLUTShape"]
    assert (
        plan(FilmOrder(), GENERIC.model_copy(update={"presentation_lut": False}), images=1).lut
        is None
    )


def test_the_film_box_says_what_was_asked_and_what_the_printer_knows() -> None:
    printer = GENERIC.model_copy(update={"annotation_format": "BOTTOM"})
    asked = {
        "magnification": "BILINEAR",
        "border_density": "WHITE",
        "min_density": 10,
        "trim": True,
        "annotations": ["left"],
    }
    box = plan(FilmOrder.model_validate(asked), printer, images=1).film_box
    assert (box.MagnificationType, box.BorderDensity, box.MinDensity) == ("BILINEAR", "WHITE", 10)
    assert (box.Trim, box.AnnotationDisplayFormatID) == ("YES", "BOTTOM")
    plain = plan(FilmOrder(), printer, images=1).film_box
    absent = {"MagnificationType", "BorderDensity", "MinDensity", "MaxDensity", "Trim"}
    assert not (absent | {"AnnotationDisplayFormatID"}) & {one.keyword for one in plain}
    quirks = ("no-magnification", "no-densities", "no-trim")
    odd = printer.model_copy(update={"quirks": quirks})
    refused = plan(FilmOrder.model_validate(asked), odd, images=1).film_box
    assert not absent & {one.keyword for one in refused}
