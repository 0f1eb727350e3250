"""What a process has in hand, and what it remembers of jobs that wait, by its own clock."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from darkroom_common.errors import DependencyUnavailable
from darkroom_common.jobs import lease as module
from darkroom_common.jobs.attempt import Attempt, Ending
from darkroom_common.jobs.kind import Phases
from darkroom_common.jobs.lease import POLL_SECONDS, Claims
from darkroom_common.lull import FIRST_SECONDS, LAST_SECONDS
from tests.support.waiting import nothing_more, until

PHASES = Phases("WAITING", ("WORKING",), "RETRYING", ("DONE",), "FAILED")
DONE = Ending("DONE")
LATER = Ending("RETRYING", "away", wait=30.0)
AWAY = DependencyUnavailable("away")


class Clock:
    """A clock that a test moves."""

    seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class Rows:
    """A database with the rows of jobs: what the engine's SQL does, as `JobTable` tells it.

    The SQL itself is tested in tests/integration/common/jobs.

    Attributes:
        ready: jobs that a claim finds, in order; an ending is one that the kind gives at once.
        owned: whether they are this process's.
        asked: the arguments of each claim.
        errors: that the next transactions raise.
    """

    ready: list[tuple[str, Ending | None]] = field(default_factory=list)
    owned: bool = True
    asked: list[dict[str, Any]] = field(default_factory=list)
    ended: list[tuple[str, str]] = field(default_factory=list)
    renewed: list[list[str]] = field(default_factory=list)
    counted: int = 0
    errors: list[Exception] = field(default_factory=list)
    hold: asyncio.Event | None = None
    progress: bool = False

    @property
    def kind(self) -> Any:
        progress = {"sent": "int"} if self.progress else {}
        return SimpleNamespace(name="send", phases=PHASES, progress=progress)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["Rows"]:
        if self.errors:
            raise self.errors.pop(0)
        yield self

    acquire = transaction

    async def claim(self, _: Any, **asked: Any) -> tuple[Attempt, Ending | None] | None:
        self.asked.append(asked)
        if self.hold is not None:
            await self.hold.wait()
        passed = {*asked["not_due"]}
        found = next((one for one in self.ready if one[0] not in passed), None)
        if found is None:
            return None
        self.ready.remove(found)
        return an_attempt(found[0]), found[1]

    async def ours(self, _: Any, __: Attempt, *, owner: str) -> bool:
        assert owner == "me"
        return self.owned

    async def finish(self, _: Any, attempt: Attempt, ending: Ending, *, owner: str) -> Any:
        assert owner == "me"
        self.ended.append((attempt.id, ending.state))
        return {"id": attempt.id}

    async def renew(
        self, _: Any, attempts: Sequence[Attempt], *, owner: str, lease: float
    ) -> set[str]:
        assert (owner, lease) == ("me", 20.0)
        self.renewed.append([one.id for one in attempts])
        return {one.id for one in attempts} if self.owned else set()

    async def count(self, _: Any, __: Any) -> None:
        self.counted += 1


def an_attempt(job: str) -> Attempt:
    row: Any = {"id": job}
    return Attempt(job, "lane", 1, 0, 0.0, row)


def stopped(attempt: Attempt | None) -> str:
    """Return why its work is to end."""
    assert attempt is not None
    return attempt.stopped


def claims(rows: Any, lane: str | None = "lane") -> tuple[Claims[Attempt], Clock]:
    clock: Any = Clock()
    return Claims(rows, rows, "me", 20.0, lane, clock, "bound"), clock


async def waiting(job: str, ending: Ending = LATER) -> tuple[Claims[Attempt], Rows, Clock]:
    """Return what a process has that has tried a job once, in vain."""
    rows = Rows([(job, None)])
    mine, clock = claims(rows)
    attempt = await mine.claim()
    assert attempt is not None
    assert await mine.finish(attempt, ending) is not None
    return mine, rows, clock


async def test_a_claim_says_who_asks_for_what() -> None:
    rows = Rows([("a", None)])
    mine, _ = claims(rows)
    attempt = await mine.claim(below=4.0, full=["busy"])
    assert attempt is not None
    assert mine.held == {"a": attempt}
    (asked,) = rows.asked
    assert asked == {
        "lane": "lane",
        "owner": "me",
        "lease": 20.0,
        "below": 4.0,
        "full": ["busy"],
        "due": [],
        "not_due": [],
        "bound": "bound",
    }


async def test_what_is_in_hand_is_not_claimed_again() -> None:
    rows = Rows([("a", None), ("a", None), ("b", None)])
    mine, _ = claims(rows)
    found = [await mine.claim() for _ in range(3)]
    assert [one and one.id for one in found] == ["a", "b", None]
    assert rows.asked[-1]["not_due"] == ["a", "b"]


async def test_what_waits_is_due_by_this_process_own_clock() -> None:
    """Neither earlier nor later, wherever the wall clock is set; nor twice."""
    mine, rows, clock = await waiting("a")
    rows.ready = [("a", None)]
    clock.seconds += 29.9
    assert await mine.claim() is None
    assert (rows.asked[-1]["due"], rows.asked[-1]["not_due"]) == ([], ["a"])
    clock.seconds += 0.1
    again = await mine.claim()
    assert again is not None
    assert (rows.asked[-1]["due"], rows.asked[-1]["not_due"]) == (["a"], [])
    assert await mine.claim() is None
    assert (rows.asked[-1]["due"], rows.asked[-1]["not_due"]) == ([], ["a"]), "as one in hand"


async def test_what_was_due_and_is_gone_is_forgotten() -> None:
    """Another process has it, or an operator has ended it: this one asks for it once."""
    mine, rows, clock = await waiting("a")
    clock.seconds += 30
    assert await mine.claim() is None
    assert await mine.claim() is None
    assert [one["due"] for one in rows.asked[-2:]] == [["a"], []]


async def test_what_still_waits_is_remembered_when_nothing_else_is_found() -> None:
    mine, rows, clock = await waiting("a")
    clock.seconds += 29
    for _ in range(2):
        assert await mine.claim() is None
        assert rows.asked[-1]["not_due"] == ["a"]


@pytest.mark.parametrize(
    "ending", [DONE, Ending("WAITING"), Ending("RETRYING", wait=30.0, remembered=False)]
)
async def test_only_a_wait_of_this_process_is_remembered(ending: Ending) -> None:
    mine, rows, _ = await waiting("a", ending)
    assert await mine.claim() is None
    assert rows.asked[-1]["not_due"] == []


async def test_an_operators_word_ends_what_is_remembered_and_what_is_done() -> None:
    mine, rows, _ = await waiting("a")
    mine.acted("a")
    rows.ready = [("a", None)]
    attempt = await mine.claim()
    assert attempt is not None
    assert rows.asked[-1]["not_due"] == []
    mine.acted("other")
    assert stopped(attempt) == ""
    mine.acted("a")
    assert stopped(attempt) == "lost"


async def test_it_does_not_remember_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database knows them, too."""
    monkeypatch.setattr(module, "_MOST_REMEMBERED", 3)
    rows = Rows()
    mine, _ = claims(rows)
    remembered = []
    for job in "abcde":
        rows.ready = [(job, None)]
        attempt = await mine.claim()
        assert attempt is not None
        await mine.finish(attempt, LATER)
        remembered.append(sorted(mine._due))
    assert remembered == [["a"], ["a", "b"], ["a", "b", "c"], ["d"], ["d", "e"]]


async def test_a_job_that_its_kind_ends_at_once_is_never_in_hand() -> None:
    rows = Rows([("a", DONE), ("b", LATER), ("c", None)])
    mine, _ = claims(rows)
    found = await mine.claim()
    assert found is not None
    assert found.id == "c"
    assert list(mine.held) == ["c"]
    assert list(mine._due) == ["b"]


async def test_it_looks_again_when_something_may_be_due() -> None:
    mine, _, clock = await waiting("a")
    assert mine.until_due() == FIRST_SECONDS
    for _ in range(4):
        mine.until_due()
    assert mine.until_due() == LAST_SECONDS, "longer and longer while there is nothing to do"
    clock.seconds += 29.5
    assert mine.until_due() == 0.5, "and when one is due"
    clock.seconds += 5
    assert mine.until_due() == 0


async def test_pauses_are_short_again_once_there_was_something() -> None:
    rows = Rows()
    mine, _ = claims(rows)
    for _ in range(4):
        mine.until_due()
    rows.ready = [("a", DONE)]
    assert await mine.claim() is None
    assert mine.until_due() == FIRST_SECONDS
    rows.ready = [("b", None)]
    attempt = await mine.claim()
    assert attempt is not None
    assert [mine.until_due() for _ in range(4)] == [POLL_SECONDS] * 4, "while it is in hand"


async def test_an_end_waits_for_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it is away, and whoever it clashes with: it is written once."""
    monkeypatch.setattr(module, "POLL_SECONDS", 0.0)
    rows = Rows([("a", None)])
    mine, _ = claims(rows)
    attempt = await mine.claim()
    assert attempt is not None
    rows.errors = [AWAY, asyncpg.DeadlockDetectedError(), AWAY, asyncpg.SerializationError()]
    assert await mine.finish(attempt, DONE) is not None
    assert rows.ended == [("a", "DONE")]
    assert mine.held == {}


async def test_any_other_error_of_an_end_is_raised_and_lets_go_of_the_job() -> None:
    rows = Rows([("a", None)])
    mine, _ = claims(rows)
    attempt = await mine.claim()
    assert attempt is not None
    rows.errors = [KeyError("x")]
    with pytest.raises(KeyError):
        await mine.finish(attempt, DONE)
    assert mine.held == {}


async def test_what_is_not_this_process_any_more_is_neither_ended_nor_remembered() -> None:
    rows = Rows([("a", None)], owned=False)
    mine, _ = claims(rows)
    attempt = await mine.claim()
    assert attempt is not None
    decided = False

    async def decide(_: object) -> Ending:
        nonlocal decided
        decided = True
        return LATER

    assert await mine.finish(attempt, decide) is None
    assert (decided, rows.ended, mine.held, mine._due) == (False, [], {}, {})


async def test_what_goes_with_an_end_is_decided_in_its_transaction() -> None:
    rows = Rows([("a", None)])
    mine, _ = claims(rows)
    attempt = await mine.claim()
    assert attempt is not None

    async def decide(db: object) -> Ending:
        assert db is rows
        assert rows.ended == []
        return LATER

    assert await mine.finish(attempt, decide) is not None
    assert rows.ended == [("a", "RETRYING")]
    assert list(mine._due) == ["a"]


async def test_a_claim_that_is_cancelled_is_not_held_by_nobody() -> None:
    """It may have been committed: it is in `held`, and its lease is renewed or given back."""
    rows = Rows([("a", None)], hold=asyncio.Event())
    mine, _ = claims(rows)
    claiming = asyncio.create_task(mine.claim())
    await until(lambda: rows.asked)
    claiming.cancel()
    await nothing_more(0)
    assert not claiming.done(), "it waits for the database's word"
    assert rows.hold is not None
    rows.hold.set()
    with pytest.raises(asyncio.CancelledError):
        await claiming
    assert list(mine.held) == ["a"]


async def test_renewing_stops_the_work_at_what_is_lost() -> None:
    rows = Rows([("a", None), ("b", None)])
    mine, _ = claims(rows)
    await mine.renew()
    assert rows.renewed == [], "there was nothing to renew"
    attempts = [await mine.claim(), await mine.claim()]
    await mine.renew()
    assert rows.renewed == [["a", "b"]]
    assert [stopped(one) for one in attempts] == ["", ""]
    rows.owned = False
    await mine.renew()
    assert [stopped(one) for one in attempts] == ["lost", "lost"]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was slept for; none of it is."""
    slept: list[float] = []
    real = asyncio.sleep

    async def pause(seconds: float) -> None:
        slept.append(seconds)
        await real(0)

    monkeypatch.setattr(asyncio, "sleep", pause)
    return slept


async def ran(work: Any, condition: Callable[[], Any]) -> None:
    """Run something that never ends until a condition holds."""
    task = asyncio.create_task(work)
    turns = 0
    while not condition():
        turns += 1
        assert turns < 1000
        assert not task.done()
        await asyncio.wait({task}, timeout=0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_leases_are_renewed_well_before_they_end(pauses: list[float]) -> None:
    """And go on to be when the database was away, or somebody else has won."""
    rows = Rows([("a", None)])
    mine, _ = claims(rows)
    assert await mine.claim() is not None
    rows.errors = [AWAY, asyncpg.DeadlockDetectedError()]
    await ran(mine.keep(), lambda: len(rows.renewed) >= 3)
    assert set(pauses) == {5.0}, "a quarter of the lease: three may fail"


async def test_progress_is_written_every_second(pauses: list[float]) -> None:
    mine, _ = claims(Rows(progress=True))
    await ran(mine.keep(), lambda: pauses)
    assert pauses[0] == POLL_SECONDS


async def test_who_has_all_lanes_counts_and_who_has_one_leaves_it_to_its_lanes(
    pauses: list[float],
) -> None:
    rows = Rows(errors=[AWAY])
    every, _ = claims(rows, lane=None)
    await ran(every.count(), lambda: rows.counted >= 2)
    assert set(pauses) == {module.COUNT_SECONDS}
    one, _ = claims(rows)
    counted = rows.counted
    await one.count()
    assert rows.counted == counted
