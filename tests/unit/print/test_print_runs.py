"""A whole job at a printer that is recorded: what is asked of it, in order, and what is kept."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from darkroom_common.dimse.requestor import PeerFault
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.films.film import Mode
from darkroom_common.specs.printers import PrinterSpec
from darkroom_print.composing.bitmap import Film
from darkroom_print.printing import printing as module
from darkroom_print.printing.ending import Ended, Lost, Stopping
from darkroom_print.printing.print_scu import FormatRefused, PrinterStatus, Refused
from darkroom_print.printing.printing import Printing
from darkroom_print.printing.repository import PrintJob
from tests.support.waiting import LIMIT, until
from tests.unit.print.recorded_printer import House

SPEC = PrinterSpec(ae_title="FILM", host="10.0.0.1", port=104)


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    made = House(1, 2, 3)

    async def pictures(_db: object, _order: Any, images: Sequence[str]) -> list[str]:
        return [f"object {one}" for one in images]

    @asynccontextmanager
    async def as_files(_store: Any, chosen: Sequence[str]) -> AsyncIterator[Sequence[str]]:
        yield [one.removeprefix("object ") for one in chosen]

    def open_order(_row: Any, _seal: Any) -> Any:
        return _order("auto")

    def plan(order: Any, _profile: Any, *, images: int) -> Any:
        arranged = order.arrange == "sheet"
        boxes = 2
        mode = Mode.SHEET if arranged else made.mode
        return SimpleNamespace(
            film=SimpleNamespace(mode=mode, colour="MONOCHROME2"),
            boxes=boxes,
            count=-(-images // boxes),
            session="session",
            film_box="film box",
            image_box="image box",
            lut=made.lut,
            annotations=(),
            has_boxes=not arranged,
        )

    monkeypatch.setattr(module, "find_pictures", pictures)
    monkeypatch.setattr(module, "as_files", as_files)
    monkeypatch.setattr(module, "open_order", open_order)
    monkeypatch.setattr(module, "plan", plan)
    monkeypatch.setattr(module, "PrintAssociation", made)
    yield made
    made.threads.shutdown()


def _order(arrange: str) -> Any:
    return SimpleNamespace(
        arrange=arrange,
        images=["a", "b", "c", "d", "e"],
        without_pixels=1,
        model_copy=lambda update: _order(update["arrange"]),
        model_dump=lambda mode: {"arrange": arrange},
    )


def printing(house: House, *quirks: str, done_seconds: float = 7) -> Printing:
    update = {"quirks": quirks, "done_seconds": done_seconds}
    printer: Any = SimpleNamespace(name="FILM", id="1", spec=SPEC.model_copy(update=update))
    row: Any = {}
    shop: Any = house
    return Printing(printer, shop, PrintJob("job", "FILM", 1, 0, 0.0, row))


def film(number: int, files: str, *, first: bool = False) -> list[str]:
    """Return the steps of a film; the first of a session is composed before that begins."""
    return [
        *([] if first else [f"compose {files}"]),
        *("prepare", f"acting {number} here", "committed", f"act box {number}"),
        *(f"follow job of box {number} 7", f"printed {number}", "committed"),
        *(f"forget box {number}", *([] if first else ["dropped"])),
    ]


BEGIN = ["associate", "status", "begin", "enter PRINTING here", "committed"]
END = ["end", "release"]


async def test_a_job_of_several_films_is_one_session_with_every_film_in_its_order(
    house: House,
) -> None:
    made = printing(house)
    await made.run()
    assert house.steps == [
        *("committed", "compose a,b", *BEGIN, *film(1, "a,b", first=True)),
        *(*film(2, "c,d"), *film(3, "e"), *END, "dropped"),
    ]
    assert [one[:2] for one in house.kept] == [(n, f"job of box {n}") for n in (1, 2, 3)]
    assert made.job.progressed
    assert made.job.warnings == ["objects without pixels, which are not on film: 1"]
    assert made._association is None
    assert house.shown == []


async def test_only_films_that_wait_are_printed_and_none_opens_no_session(house: House) -> None:
    house.waiting = [3]
    await printing(house).run()
    assert [step for step in house.steps if step.startswith("compose")] == ["compose e"]
    assert [one[0] for one in house.kept] == [3]
    house.steps.clear()
    await printing(house).run()
    assert house.steps == ["committed"]


async def test_a_printer_of_one_film_a_session_gets_a_session_for_each(house: House) -> None:
    await printing(house, "one-film-box-a-session").run()
    assert house.steps.count("associate") == 3
    assert house.steps.count("release") == 3
    assert [one[0] for one in house.kept] == [1, 2, 3]


async def test_quirks_leave_out_what_a_printer_does_not_stand(house: House) -> None:
    house.waiting = [1]
    await printing(house, "no-status", "no-delete", "action-on-session").run()
    assert house.steps == [
        *("committed", "compose a,b", "associate", "begin", "enter PRINTING here", "committed"),
        *("prepare", "acting 1 here", "committed", "act box 1 on session"),
        *("follow job of box 1 7", "printed 1", "committed", "release", "dropped"),
    ]


async def test_the_printer_gets_the_sheet_or_its_boxes(house: House) -> None:
    house.waiting = [1]
    await printing(house).run()
    (sheet,) = house.films
    assert [one.pixels.shape for one in sheet.bitmaps] == [(8, 8)]
    assert (sheet.box, sheet.image, sheet.lut) == ("film box", "image box", None)
    house.mode, house.kept = Mode.BOXES, []
    await printing(house).run()
    assert [one.pixels.shape for one in house.films[-1].bitmaps] == [(4, 4), (4, 4)]


async def test_a_format_that_the_printer_does_not_know_is_arranged_here_and_kept(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.waiting = [1]
    house.mode = Mode.BOXES
    house.faults["prepare"] = FormatRefused("no such format")
    made = printing(house)
    changed = house.change_order

    async def change(*given: Any) -> None:
        house.faults.clear()
        await changed(*given)

    monkeypatch.setattr(house, "change_order", change)
    await made.run()
    steps = house.steps
    refused = steps.index("changed sheet")
    assert steps[refused - 3 : refused] == [*END, "dropped"]
    assert steps[refused + 1] == "committed"
    assert [one[0] for one in house.kept] == [1]
    assert [len(one.bitmaps) for one in house.films] == [2, 1]
    assert "no such format: each film is sent as one bitmap" in made.job.warnings


@pytest.mark.parametrize("arrange", ["sheet", "printer"])
async def test_a_refused_format_that_was_asked_for_or_is_our_own_ends_the_job(
    house: House, monkeypatch: pytest.MonkeyPatch, arrange: str
) -> None:
    monkeypatch.setattr(module, "open_order", lambda *_: _order(arrange))
    house.faults["prepare"] = FormatRefused("no such format")
    with pytest.raises(FormatRefused):
        await printing(house).run()
    assert house.kept == []
    assert not any(step.startswith("changed") for step in house.steps)


async def test_an_order_that_cannot_be_read_ends_the_job_before_anything(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def senseless(*_: Any) -> Any:
        raise ValueError("layout of Jane Doe")

    monkeypatch.setattr(module, "open_order", senseless)
    with pytest.raises(Ended, match="makes no sense") as ended:
        await printing(house).run()
    assert (ended.value.state, ended.value.transient) == ("FAILED", False)
    assert house.steps == []


async def test_a_printer_that_says_failure_is_not_begun_and_tried_again(house: House) -> None:
    house.said = PrinterStatus("FAILURE", "NO FILM")
    with pytest.raises(Ended, match="printer: FAILURE, NO FILM") as ended:
        await printing(house).run()
    assert ended.value.transient
    assert house.steps[-3:] == ["status", "abort", "dropped"]
    assert "begin" not in house.steps


async def test_a_printer_that_does_not_tell_its_status_prints_all_the_same(house: House) -> None:
    house.waiting = [1]
    house.faults["status"] = Refused("N-GET", 0x0112)
    made = printing(house)
    await made.run()
    assert [one[0] for one in house.kept] == [1]
    assert any("N-GET" in one for one in made.job.warnings)


async def test_a_job_that_is_not_ours_is_not_printed(house: House) -> None:
    house.ours = False
    with pytest.raises(Lost):
        await printing(house).run()
    assert "prepare" not in house.steps
    assert "abort" in house.steps
    assert not {"end", "release"} & set(house.steps)


async def test_a_film_that_is_not_ours_is_not_acted_on_and_nothing_follows(house: House) -> None:
    house.acts = False
    with pytest.raises(Lost):
        await printing(house).run()
    assert not [step for step in house.steps if step.startswith("act ")]
    assert "abort" in house.steps


async def test_a_refused_film_leaves_the_session_as_the_printer_likes_it(house: House) -> None:
    house.faults["act"] = Refused("N-ACTION", 0xC600)
    with pytest.raises(Refused):
        await printing(house).run()
    at = house.steps.index("not-acted 1")
    assert house.steps[at : at + 4] == ["not-acted 1", "committed", *END]
    assert "abort" not in house.steps


async def test_a_film_without_an_answer_is_in_doubt_and_no_other_is_begun(house: House) -> None:
    house.faults["act"] = PeerFault("ConnectionLost")
    with pytest.raises(Ended) as ended:
        await printing(house).run()
    assert ended.value.state == "UNKNOWN"
    assert "film 1" in ended.value.reason
    assert "unknown 1" in house.steps
    assert len(house.films) == 1
    assert "abort" in house.steps


async def test_a_stop_lets_the_film_end_and_begins_no_other(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = printing(house)
    printed = house.printed

    async def stop(*given: Any) -> None:
        await printed(*given)
        made.stop("stopping")

    monkeypatch.setattr(house, "printed", stop)
    with pytest.raises(Stopping):
        await made.run()
    assert [one[0] for one in house.kept] == [1]
    assert "abort" in house.steps


async def test_a_failed_job_of_the_printer_is_in_doubt_and_told(house: House) -> None:
    house.ends = "FAILURE"
    with pytest.raises(Ended, match="film 1: the printer's job has failed, jam") as ended:
        await printing(house).run()
    assert (ended.value.state, ended.value.transient) == ("FAILED", False)
    assert "unknown 1" in house.steps
    assert house.kept == []


@pytest.mark.parametrize(
    ("fault", "end", "told"),
    [
        (None, "PRINTING", "film 1: PRINTING after 7 s"),
        (PeerFault("ConnectionLost"), "DONE", "did not tell its end (ConnectionLost"),
        (OSError("Jane Doe"), "DONE", "did not tell its end (OSError)"),
    ],
)
async def test_a_film_that_was_taken_is_printed_whatever_is_known_of_its_end(
    house: House, fault: Exception | None, end: str, told: str
) -> None:
    house.waiting, house.ends = [1], end
    if fault is not None:
        house.faults["follow"] = fault
    made = printing(house)
    house.warnings.append("LOW FILM")
    await made.run()
    ((number, _, warnings),) = house.kept
    assert number == 1
    assert warnings[0] == "LOW FILM"
    assert told in warnings[1]
    assert told in made.job.warnings[-2]
    assert made.job.warnings[-1] == "LOW FILM"


@pytest.mark.parametrize("fault", [Refused("N-DELETE", 0x0112), PeerFault("ConnectionLost")])
async def test_what_is_tidied_in_vain_has_been_printed(house: House, fault: Exception) -> None:
    house.waiting = [1]
    house.faults |= dict.fromkeys(("forget", "end", "release"), fault)
    await printing(house).run()
    assert [one[0] for one in house.kept] == [1]
    assert house.steps[-3:] == ["end", "release", "dropped"]
    assert "abort" not in house.steps


async def test_what_the_film_could_not_show_is_told_of_that_film(house: House) -> None:
    house.waiting = [2]
    house.composed = Film(
        house.composed.plan, house.composed.sheet, (), (), 3, ("an overlay left out",)
    )
    made = printing(house)
    await made.run()
    assert made.job.warnings[1:] == [
        "film 2: 3 characters have no font",
        "film 2, an overlay left out",
    ]


async def test_warnings_are_kept_once_each_and_the_last_fifty(house: House) -> None:
    house.waiting = [1]
    made = printing(house)
    house.warnings += ["again", "again", *(f"warning {n}" for n in range(60))]
    await made.run()
    assert len(made.job.warnings) == 50
    assert made.job.warnings[-1] == "warning 59"
    assert made.job.warnings[0] == "warning 10"


async def test_a_look_up_table_that_the_printer_does_not_take_is_never_left_out(
    house: House,
) -> None:
    house.lut = "table"
    with pytest.raises(Ended, match="takes no Presentation LUT"):
        await printing(house).run()
    assert "prepare" not in house.steps
    house.applies_lut, house.waiting = True, [1]
    await printing(house).run()
    assert house.films[-1].lut == "table"


async def test_what_a_printer_says_of_itself_is_shown_and_a_database_away_is_no_fault(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.waiting = [1]
    shown = asyncio.Event()
    loop = asyncio.get_running_loop()
    show = house.show_status

    async def telling(*given: Any) -> None:
        try:
            await show(*given)
        finally:
            shown.set()

    monkeypatch.setattr(house, "show_status", telling)
    house.faults["shown"] = DependencyUnavailable("PostgreSQL: away")
    await printing(house).run()
    await loop.run_in_executor(house.threads, house.heard, PrinterStatus("WARNING", "FILM LOW"))
    async with asyncio.timeout(LIMIT):
        await shown.wait()
    assert house.shown == [("FILM", "WARNING", "FILM LOW")]


async def test_a_printer_gets_one_association_at_a_time(house: House) -> None:
    house.waiting = [1]
    async with house.places.of("FILM", 1):
        running = asyncio.create_task(printing(house).run())
        await until(lambda: "compose a,b" in house.steps)
        assert "associate" not in house.steps
    async with asyncio.timeout(LIMIT):
        await running
    assert "associate" in house.steps
