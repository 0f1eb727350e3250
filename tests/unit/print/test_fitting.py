"""What a printer cannot do of an order: refused alike before 202 and before printing."""

from typing import Any

import pytest

from darkroom_common.errors import PermanentError
from darkroom_common.films.fitting import ImageMissing, fit, require_images
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
