"""What was answered of a batch, kept once, however often the database is away."""

import asyncio
from typing import Any

import asyncpg
import pytest

from darkroom_common.errors import DependencyUnavailable
from darkroom_transmit.sending import results as results_module
from darkroom_transmit.sending.job import Claimed, Progress, Result
from darkroom_transmit.sending.outcome import Outcome, Verdict
from darkroom_transmit.sending.results import Results
from tests.support.waiting import LIMIT, until
from tests.unit.transmit.test_delivery import HERE, Kept, a_job, an_item

SENT, FAILED, SUSPECT = Outcome(Verdict.SENT), Verdict.FAILED, Verdict.SUSPECT


class Table(Kept):
    """Claims and jobs of a lane, whose database may be away; `ends` is what a job has come to."""

    def __init__(self, *faults: Exception, state: str | None = "SENT") -> None:
        super().__init__()
        self.faults = list(faults)
        self.state = state
        self.decided: list[Any] = []
        self.release: asyncio.Event | None = None

    async def record(self, _db: object, results: list[Result]) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.recorded += results

    async def progress(self, _db: object, _job: str) -> Progress:
        return Progress(1, 0, 0, "")

    async def finish(self, claimed: Claimed, decide: Any) -> Any:
        self.finished.append(claimed.id)
        if self.release is not None:
            await self.release.wait()
        self.decided.append(await decide(None))
        return None if self.state is None else {"state": self.state}


def kept(table: Any) -> tuple[Results, list[str]]:
    sent: list[str] = []

    async def tell(job: str) -> None:
        sent.append(job)

    return Results(HERE, table, table, tell, lambda: 0.5), sent


@pytest.mark.parametrize(
    ("outcome", "arrived", "failed", "halted"),
    [
        (SENT, 1, 0, False),
        (Outcome(Verdict.WARNED, "Warning0107"), 1, 0, False),
        (Outcome(FAILED, "CannotUnderstand"), 0, 1, False),
        (Outcome(Verdict.RETRY, "OutOfResources"), 0, 0, True),
        (Outcome(SUSPECT, "ConnectionLost"), 0, 0, False),
    ],
)
async def test_an_answer_counts_once_and_only_what_may_help_later_halts(
    outcome: Outcome, arrived: int, failed: int, halted: bool
) -> None:
    made, _ = kept(Table())
    job = a_job(an_item("2"))
    made.take(job, an_item("1"), outcome)
    assert (job.arrived, job.failed, job.halted) == (arrived, failed, halted)
    assert job.progressed is bool(arrived)
    assert job.fault == (outcome.reason if halted else "")
    assert job.unrecorded == 1
    assert made._queue.get_nowait() == (job, Result("job", "1", outcome))


@pytest.mark.parametrize("state", ["SENT", "FAILED", "RETRYING", None])
async def test_a_job_is_told_as_sent_when_it_is_and_is_ours(state: str | None) -> None:
    made, sent = kept(Table(state=state))
    await made.finish(a_job())
    assert sent == (["job"] if state == "SENT" else [])


async def test_an_attempt_is_ended_by_one_alone() -> None:
    table = Table()
    table.release = asyncio.Event()
    made, sent = kept(table)
    job = a_job()
    both = [asyncio.create_task(made.finish(job)) for _ in range(2)]
    await both[1]
    assert not both[0].done()
    table.release.set()
    await both[0]
    assert table.finished == ["job"]
    assert sent == ["job"]
    assert [one.state for one in table.decided] == ["SENT"]


@pytest.mark.parametrize("fault", [DependencyUnavailable("away"), asyncpg.DeadlockDetectedError()])
async def test_an_answer_is_kept_however_often_the_database_is_away(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results_module, "POLL_SECONDS", 0.0)
    table = Table(fault, fault)
    made, sent = kept(table)
    job = a_job()
    recording = asyncio.create_task(made.record())
    made.take(job, an_item("1"), SENT)
    made.take(job, an_item("2"), SENT)
    async with asyncio.timeout(LIMIT):
        await made._queue.join()
        await until(lambda: sent)
    assert [one.sop_instance_uid for one in table.recorded] == ["1", "2"]
    assert (job.unrecorded, table.finished) == (0, ["job"])
    recording.cancel()


async def test_a_job_with_something_left_is_not_ended() -> None:
    table = Table()
    made, _ = kept(table)
    job = a_job(an_item("2"))
    recording = asyncio.create_task(made.record())
    made.take(job, an_item("1"), SENT)
    await made._queue.join()
    assert table.finished == []
    recording.cancel()


async def test_last_words_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_module, "_LAST_WORDS_SECONDS", 0.0)
    table = Table()
    made, _ = kept(table)
    table.held["job"] = a_job()
    made.take(table.held["job"], an_item("1"), SENT)
    recorder = asyncio.create_task(asyncio.Event().wait())  # keeps nothing
    async with asyncio.timeout(LIMIT):
        await made.last_words(recorder)  # type: ignore[arg-type]
    assert recorder.cancelled()
    assert table.finished == []
