"""Between two films: what may begin, and that a film which is not ours is never printed."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from darkroom_common.dimse.requestor import PeerFault
from darkroom_common.films.film import Mode
from darkroom_print.composing.bitmap import Bitmap, Film
from darkroom_print.printing.ending import Ended, Lost, Stopping
from darkroom_print.printing.print_scu import Refused
from darkroom_print.printing.printing import Printing, digest
from darkroom_print.printing.repository import PrintJob

PROFILE: Any = SimpleNamespace(quirks=frozenset())
PLANNED: Any = SimpleNamespace(
    film=SimpleNamespace(mode=Mode.SHEET, colour="MONOCHROME2"),
    film_box=None,
    image_box=None,
    lut=None,
    annotations=(),
    session=None,
)
PLAN: Any = None
FILM = Film(PLAN, Bitmap(1, np.arange(12, dtype=np.uint8).reshape(3, 4), 8), (), ())


class Desk:
    """Database, jobs of print and printer at once: keeps in which order they were asked."""

    def __init__(self, *, ours: bool = True, answer: Exception | None = None) -> None:
        self.ours, self.answer = ours, answer
        self.steps: list[str] = []
        self.known: bytes = b""
        self.warnings: list[str] = []
        self.applies_lut = True
        self.owner = "here"
        self.database = self.jobs = self

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[object]:
        yield self
        self.steps.append("committed")

    async def acting(self, _db: object, _job: str, number: int, known: bytes, **_: Any) -> bool:
        self.known = known
        self.steps.append(f"acting {number}")
        return self.ours

    async def printed(self, _db: object, _job: str, number: int, *_: Any) -> None:
        self.steps.append(f"printed {number}")

    async def not_acted(self, _db: object, _job: str, number: int) -> None:
        self.steps.append(f"not acted {number}")

    async def unknown(self, _db: object, _job: str, number: int) -> None:
        self.steps.append(f"unknown {number}")

    def prepare(self, _sheet: Any) -> str:
        self.steps.append("prepare")
        return "box"

    def act(self, _box: str, **_: Any) -> str:
        self.steps.append("act")
        if self.answer is not None:
            raise self.answer
        return "1.2"

    def follow(self, *_: Any) -> str:
        return "DONE"

    def forget(self, _box: str) -> None:
        self.steps.append("forget")

    def interrupt(self) -> None:
        self.steps.append("interrupt")


class Asking(Printing):
    """Asks the printer in this thread."""

    async def _call(self, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
        return function(*given, **named)


def printing(desk: Desk) -> Printing:
    shop: Any = desk
    printer: Any = SimpleNamespace(name="FILM", spec=SimpleNamespace(done_seconds=1.0))
    row: Any = {}
    return Asking(printer, shop, PrintJob("job", "FILM", 1, 0, 0.0, row))


async def film(made: Printing, desk: Desk, number: int = 1) -> None:
    association: Any = desk
    await made._film(PLANNED, PROFILE, association, number, FILM)


async def test_a_film_is_said_to_be_acting_and_committed_before_it_is_printed() -> None:
    desk = Desk()
    made = printing(desk)
    await film(made, desk, 2)
    assert desk.steps == [
        "prepare",
        *("acting 2", "committed", "act", "printed 2", "committed", "forget"),
    ]
    assert desk.known == digest(FILM)
    assert made.job.progressed


async def test_a_film_that_may_not_be_begun_is_never_printed() -> None:
    desk = Desk(ours=False)
    with pytest.raises(Lost):
        await film(printing(desk), desk)
    assert "act" not in desk.steps


async def test_no_film_is_begun_after_a_stop() -> None:
    desk = Desk()
    made = printing(desk)
    await film(made, desk, 1)
    made.stop("stopping")
    before = list(desk.steps)
    with pytest.raises(Stopping):
        await film(made, desk, 2)
    assert desk.steps == before


@pytest.mark.parametrize("why", ["lost", "stopping", "now"])
async def test_no_association_is_opened_after_a_stop(why: Any) -> None:
    made = printing(Desk())
    made.stop(why)
    with pytest.raises(Stopping):
        async with made._session(PLANNED, PROFILE):
            pytest.fail("a session has begun")


def test_only_a_stop_that_cannot_wait_interrupts_the_printer() -> None:
    desk = Desk()
    made = printing(desk)
    made.stop("now")  # nothing is open yet
    association: Any = desk
    made._association = association
    made.stop("stopping")
    made.stop("lost")
    assert desk.steps == []
    made.stop("now")
    assert desk.steps == ["interrupt"]


async def test_a_film_that_was_refused_waits_again() -> None:
    desk = Desk(answer=Refused("N-ACTION", 0xC600))
    with pytest.raises(Refused):
        await film(printing(desk), desk)
    assert desk.steps[-2:] == ["not acted 1", "committed"]


@pytest.mark.parametrize("fault", [PeerFault("ConnectionLost"), OSError("odd")])
async def test_a_film_without_an_answer_is_in_doubt_and_not_printed_again(fault: Exception) -> None:
    desk = Desk(answer=fault)
    with pytest.raises(Ended) as ended:
        await film(printing(desk), desk)
    assert ended.value.state == "UNKNOWN"
    assert not ended.value.transient
    assert desk.steps[-2:] == ["unknown 1", "committed"]
    assert "odd" not in ended.value.reason  # the text of what is not ours may hold what we got
