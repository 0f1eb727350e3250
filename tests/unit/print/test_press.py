"""What an attempt at a print job comes to, and what the printer is told of each film."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from darkroom_common.dimse.requestor import PeerFault
from darkroom_common.errors import PermanentError
from darkroom_common.films.image_box import ImageBox
from darkroom_common.films.profiles import capabilities
from darkroom_common.jobs.attempt import Ending
from darkroom_common.jobs.kind import JobKind
from darkroom_common.specs.destinations import Backoff
from darkroom_common.specs.films import FilmAnnotation, FilmImage, FilmLut, FilmOrder
from darkroom_common.specs.printers import PrinterSpec
from darkroom_print.composing.bitmap import Bitmap, Film
from darkroom_print.composing.composer import ComposingFailed
from darkroom_print.planning.plan import of_film, plan
from darkroom_print.printing import lane as module
from darkroom_print.printing.ending import Ended, Lost, Stopping
from darkroom_print.printing.lane import Press
from darkroom_print.printing.print_scu import FormatRefused, Refused
from darkroom_print.printing.print_status import in_words, is_transient, is_warning
from darkroom_print.printing.repository import PHASES, PrintJob

BACKOFF = Backoff(initial_seconds=10, multiplier=2, ceiling_seconds=100, max_attempts=3)
SPEC = PrinterSpec(ae_title="FILM", host="10.0.0.1", port=104, backoff=BACKOFF)
AGAIN = ("RETRYING", 10.0, True)
FINAL = ("FAILED", 0.0, False)


@pytest.mark.parametrize(
    ("fault", "state", "reason", "shown"),
    [
        (None, ("DONE", 0.0, False), "", []),
        (Lost(), ("QUEUED", 0.0, False), "", []),
        (Stopping(), ("QUEUED", 0.0, False), "", []),
        (Ended("UNKNOWN", "look"), ("UNKNOWN", 0.0, False), "look", []),
        (Ended("FAILED", "no"), FINAL, "no", []),
        (Ended("FAILED", "no film", transient=True), AGAIN, "no film", []),
        (PeerFault("ConnectionRefused"), AGAIN, "ConnectionRefused", ["AWAY"]),
        (PeerFault("Rejected", transient=False), FINAL, "Rejected", ["AWAY"]),
        (Refused("film", 0xC601), AGAIN, "film", []),
        (Refused("film", 0x0106), FINAL, "film", []),
        (ComposingFailed("a worker has died"), AGAIN, "a worker has died", []),
        (FormatRefused("no such format"), FINAL, "no such format", []),
        (PermanentError("an image is missing"), FINAL, "an image is missing", []),
    ],
)
async def test_how_a_job_ends(
    monkeypatch: pytest.MonkeyPatch,
    fault: Exception | None,
    state: tuple[str, float, bool],
    reason: str,
    shown: list[str],
) -> None:
    found: list[str] = []
    stops: list[str] = []

    class Printing:
        def __init__(self, _printer: Any, _shop: Any, job: PrintJob) -> None:
            self.job = job

        def stop(self, why: str) -> None:
            stops.append(why)

        async def run(self) -> None:
            self.job.warnings.append("LOW FILM")
            self.job.stop("now")
            if fault is not None:
                raise fault

    async def show_status(printer: str, status: str, info: str) -> None:
        assert (printer, len(info) <= 200) == ("FILM", True)
        found.append(status)

    monkeypatch.setattr(module, "Printing", Printing)
    kind = JobKind(name="print", table="print.job", lane="printer", phases=PHASES, attempt=PrintJob)
    shop: Any = SimpleNamespace(
        jobs=SimpleNamespace(kind=kind),
        configuration=SimpleNamespace(show_status=show_status),
        chance=lambda: 0.5,
    )
    printer: Any = SimpleNamespace(name="FILM", spec=SPEC)
    row: Any = {}
    job = PrintJob("job", "FILM", 1, 0, 0.0, row)
    ending = await Press(printer, shop)(job)
    assert (ending.state, ending.wait, ending.counts) == state
    assert reason in ending.reason
    assert bool(reason) is bool(ending.reason)
    assert ending.columns == {"warnings": ["LOW FILM"]}
    assert found == shown
    assert stops == ["now"], "the job tells the work when it is to end"
    assert job.backoff == BACKOFF
    assert isinstance(ending, Ending)


@pytest.mark.parametrize(
    ("status", "warning", "transient"),
    [
        *((0x0000, False, False), (0x0001, True, False), (0x0107, True, False)),
        *((0x0116, True, False), (0xB600, True, False), (0xB60A, True, False)),
        *((0xAFFF, False, False), (0xC000, False, False), (0x0110, False, True)),
        *((0x0213, False, True), (0xC601, False, True), (0xC602, False, True)),
        *((0xC605, False, True), (0xC616, False, True), (0xC600, False, False)),
        (0x0106, False, False),
    ],
)
def test_what_a_status_means(status: int, warning: bool, transient: bool) -> None:
    assert (is_warning(status), is_transient(status)) == (warning, transient)
    assert in_words(status).startswith(f"{status:04X}, ")


def test_a_status_without_words_is_said_as_it_is() -> None:
    assert in_words(0x0999) == "0999, the standard has no words for it"


IMAGES = tuple(FilmImage(sop_instance_uid=f"1.2.{n}") for n in range(5))


def an_order(**more: Any) -> FilmOrder:
    given = {"layout": r"STANDARD\1,2", "copies": 3, "images": IMAGES}
    return FilmOrder.model_validate(given | more)


def planned(*quirks: str, profile: str = "generic", **more: Any) -> Any:
    printer = capabilities(SPEC.model_copy(update={"profile": profile}))
    printer = printer.model_copy(update={"quirks": quirks})
    return plan(an_order(**more), printer, images=len(IMAGES))


def test_an_order_is_as_many_films_as_its_images_need_and_each_has_its_own() -> None:
    made = planned()
    assert (made.boxes, made.count) == (2, 3)
    assert [list(of_film("abcde", n, made.boxes)) for n in (1, 2, 3)] == [
        *(["a", "b"], ["c", "d"], ["e"])
    ]
    assert made.session.NumberOfCopies == 3
    assert "PrintPriority" not in made.session
    assert made.lut is None


def test_a_session_says_what_was_asked_for() -> None:
    made = planned(print_priority="HIGH", orientation="LANDSCAPE")
    assert made.session.PrintPriority == "HIGH"
    assert made.film_box.FilmOrientation == "LANDSCAPE"
    assert made.image_box.Polarity == "NORMAL"


@pytest.mark.parametrize(
    ("quirk", "asked", "keyword", "value"),
    [
        ("no-magnification", {"magnification": "CUBIC"}, "MagnificationType", "CUBIC"),
        ("no-densities", {"border_density": "WHITE"}, "BorderDensity", "WHITE"),
        ("no-densities", {"max_density": 300}, "MaxDensity", 300),
        ("no-densities", {"min_density": 0}, "MinDensity", 0),
        ("no-trim", {"trim": True}, "Trim", "YES"),
    ],
)
def test_the_film_box_says_what_was_asked_for_unless_the_printer_does_not_stand_it(
    quirk: str, asked: dict[str, Any], keyword: str, value: object
) -> None:
    assert planned(**asked).film_box.get(keyword) == value
    assert keyword not in planned(quirk, **asked).film_box
    assert keyword not in planned().film_box or keyword == "BorderDensity"


def test_the_polarity_is_left_out_for_whom_it_is_too_much() -> None:
    assert "Polarity" not in planned("no-polarity").image_box
    assert FilmLut().shape == "IDENTITY"
    assert FilmAnnotation(position=1, text="x").position == 1


def test_a_box_is_cut_from_the_sheet_where_it_is() -> None:
    sheet = Bitmap(1, np.arange(64, dtype=np.uint8).reshape(8, 8), 8)
    places = tuple(ImageBox(n, 2 * n, n, 3, 2, 0.0, 0.0, 1.0, 1.0) for n in (1, 2))
    film: Any = SimpleNamespace(mode=None)
    (second,) = Film(film, sheet, places, (2,)).boxes
    assert (second.position, second.bits) == (2, 8)
    assert second.pixels.tolist() == [[20, 21, 22], [28, 29, 30]]
