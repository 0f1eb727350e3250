"""Jobs of sending in their tables: what each statement keeps, on a real database (TRX-02)."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from darkroom_common.jobs.attempt import Ending
from darkroom_common.jobs.lease import Claims
from darkroom_common.messages.base import new_message_id
from darkroom_common.messages.commands import SendObjects
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.phi import BlindIndex, PhiKeys
from darkroom_common.postgres.pool import Database, open_database
from darkroom_transmit.sending.job import Claimed, Progress, Result
from darkroom_transmit.sending.outcome import Outcome, Verdict
from darkroom_transmit.sending.repository import SendJobs
from tests.integration.api.seed import Seed
from tests.integration.common.jobs.cases import CASES, House, act
from tests.support.builders import a_data_set, new_uid
from tests.support.database import Prepared

KEYS = PhiKeys(1, {1: base64.b64encode(bytes(32)).decode()})


@dataclass
class Sending:
    """A destination, and a study of three images in the index."""

    prepared: Prepared
    database: Database
    house: House
    study: str
    uids: list[str]

    @property
    def jobs(self) -> SendJobs:
        return SendJobs(Outbox("transmit"))

    def asked(self, **given: Any) -> SendObjects:
        meant = {"destination": self.house.lane, "study_instance_uid": self.study} | given
        return SendObjects(job_id=new_message_id(), **meant)

    async def add(self, asked: SendObjects) -> bool:
        async with self.database.transaction() as db:
            return await self.jobs.add(db, asked)

    async def job(self, **given: Any) -> str:
        asked = self.asked(**given)
        assert await self.add(asked)
        return asked.job_id

    async def claim(self) -> Claimed | None:
        table = self.house.table
        found = await Claims(table, self.database, "one", 20.0, self.house.lane).claim()
        assert found is None or isinstance(found, Claimed)
        return found

    async def record(self, job: str, *results: tuple[str, Outcome]) -> None:
        async with self.database.transaction() as db:
            await self.jobs.record(db, [Result(job, uid, outcome) for uid, outcome in results])

    async def finish(self, attempt: Claimed, ending: Ending) -> Any:
        async with self.database.transaction() as db:
            return await self.house.table.finish(db, attempt, ending, owner="one")

    async def followed(self, job: str, *, named: bool) -> dict[str, Any] | None:
        async with self.database.acquire() as db:
            return await self.jobs.followed(db, job, named=named)

    async def progress(self, job: str) -> Progress:
        async with self.database.acquire() as db:
            return await self.jobs.progress(db, job)

    async def instances(self, job: str) -> list[tuple[str, str, str]]:
        rows = await self.prepared.fetch(
            "SELECT sop_instance_uid, state, reason FROM transmit.job_instance"
            " WHERE job_id = $1 ORDER BY position",
            job,
        )
        return [tuple(row) for row in rows]

    async def attempts(self, job: str) -> list[tuple[Any, ...]]:
        rows = await self.prepared.fetch(
            "SELECT number, outcome, reason, sent, failed, next_at IS NOT NULL,"
            " ended_at IS NOT NULL FROM transmit.attempt WHERE job_id = $1 ORDER BY number",
            job,
        )
        return [tuple(row) for row in rows]


@pytest.fixture
async def sending(prepared: Prepared, tmp_path: Path) -> AsyncIterator[Sending]:
    study, series = new_uid(), new_uid()
    uids = sorted(new_uid() for _ in range(3))
    images = [
        a_data_set(
            StudyInstanceUID=study,
            SeriesInstanceUID=series,
            SOPInstanceUID=uid,
            InstanceNumber=number + 1,
        )
        for number, uid in enumerate(uids)
    ]
    async with (
        open_database(prepared.url("metadata"), service="metadata") as index,
        open_database(prepared.url("transmit"), service="transmit") as database,
    ):
        await Seed(index, tmp_path, KEYS, BlindIndex(b"k" * 32)).add(*images)
        house = House(CASES["send"], SendJobs(Outbox("transmit")).table, database)
        await prepared.fetch(
            "INSERT INTO transmit.destination (name, spec) VALUES ($1, '{}')", house.lane
        )
        yield Sending(prepared, database, house, study, uids)


async def test_a_job_is_added_once_with_all_that_the_index_has(sending: Sending) -> None:
    asked = sending.asked(priority="high", requested_by="somebody")
    assert await sending.add(asked)
    before = await sending.house.row(asked.job_id)
    assert (before["state"], before["total"], before["failed"]) == ("PENDING", 3, 0)
    assert (before["priority"], before["requested_by"], before["rule"]) == ("high", "somebody", "")
    assert before["finished_at"] is None
    assert sorted(await sending.instances(asked.job_id)) == [
        (uid, "PENDING", "") for uid in sending.uids
    ]
    assert not await sending.add(asked), "a second delivery of the command"
    assert await sending.house.row(asked.job_id) == before
    assert len(await sending.instances(asked.job_id)) == 3


async def test_what_is_missing_is_said_of_each_and_fails_alone(sending: Sending) -> None:
    missing = new_uid()
    job = await sending.job(sop_instance_uids=(sending.uids[0], missing))
    row = await sending.house.row(job)
    assert (row["state"], row["total"], row["failed"]) == ("PENDING", 2, 1)
    assert await sending.instances(job) == [
        (sending.uids[0], "PENDING", ""),
        (missing, "FAILED", "ObjectNotFound"),
    ]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"destination": "nobody's"}, "UnknownDestination"),
        ({"study_instance_uid": "1.2.3"}, "ObjectsNotFound"),
    ],
)
async def test_what_cannot_be_sent_has_failed_at_once(
    sending: Sending, given: dict[str, str], reason: str
) -> None:
    job = await sending.job(**given)
    row = await sending.house.row(job)
    assert (row["state"], row["reason"]) == ("FAILED", reason)
    assert row["finished_at"] is not None
    assert await sending.claim() is None


async def test_what_is_claimed_is_what_is_left_and_still_there(sending: Sending) -> None:
    job = await sending.job()
    first, second, third = (uid for uid, _, _ in await sending.instances(job))
    gone = new_uid()
    await sending.prepared.fetch(
        "INSERT INTO transmit.job_instance (job_id, sop_instance_uid, position) VALUES ($1, $2, 9)",
        job,
        gone,
    )
    await sending.record(
        job, (first, Outcome(Verdict.SENT)), (second, Outcome(Verdict.SUSPECT, "Released"))
    )
    attempt = await sending.claim()
    assert attempt is not None
    assert attempt.id == job
    assert [item.sop_instance_uid for item in attempt.items] == [third]
    assert [(item.sop_instance_uid, item.faults) for item in attempt.suspects] == [(second, 1)]
    assert attempt.items[0].object_key
    assert (await sending.instances(job))[3] == (gone, "FAILED", "ObjectNotFound")
    row = await sending.house.row(job)
    assert (row["sent"], row["failed"]) == (1, 1)
    assert [one[0] for one in await sending.attempts(job)] == [1]


async def test_a_job_of_one_instance_is_claimed(sending: Sending) -> None:
    job = await sending.job(sop_instance_uids=(sending.uids[1],))
    attempt = await sending.claim()
    assert attempt is not None
    assert (attempt.id, len(attempt.items)) == (job, 1)


async def test_whoever_follows_a_job_is_told_counts_and_names(sending: Sending) -> None:
    assert await sending.followed(new_message_id(), named=True) is None
    job = await sending.job()
    first, second, third = (uid for uid, _, _ in await sending.instances(job))
    await sending.record(
        job, (first, Outcome(Verdict.WARNED)), (second, Outcome(Verdict.FAILED, "Refused"))
    )
    counts = {"state": "PENDING", "total": 3, "sent": 1, "failed": 1, "warned": 1, "over": False}
    assert await sending.followed(job, named=False) == counts
    names = {"failed_uids": [second], "left_uids": [third]}
    assert await sending.followed(job, named=True) == counts | names
    assert await act(sending.house, job, "cancel") is not None
    followed = await sending.followed(job, named=True)
    assert followed is not None
    assert (followed["state"], followed["over"]) == ("CANCELLED", True)
    assert (followed["failed_uids"], followed["left_uids"]) == ([second], [third])


async def test_how_far_a_job_is_and_why_no_farther(sending: Sending) -> None:
    assert await sending.progress(new_message_id()) == Progress(0, 0, 0, "")
    job = await sending.job()
    first, second, third = (uid for uid, _, _ in await sending.instances(job))
    assert await sending.progress(job) == Progress(3, 3, 0, "")
    await sending.record(job, (first, Outcome(Verdict.FAILED, "Refused")))
    assert await sending.progress(job) == Progress(3, 2, 1, "Refused")
    await sending.record(
        job, (second, Outcome(Verdict.RETRY, "Busy")), (third, Outcome(Verdict.SENT))
    )
    assert await sending.progress(job) == Progress(3, 1, 1, "Busy")


async def test_an_operator_cancels_what_waits_and_has_the_rest_sent_again(sending: Sending) -> None:
    job = await sending.job()
    first, second, third = (uid for uid, _, _ in await sending.instances(job))
    await sending.record(
        job, (first, Outcome(Verdict.SENT)), (second, Outcome(Verdict.FAILED, "Refused"))
    )
    assert await act(sending.house, job, "cancel") is not None
    assert await sending.instances(job) == [
        (first, "SENT", ""),
        (second, "FAILED", "Refused"),
        (third, "CANCELLED", ""),
    ]
    assert (await sending.house.row(job))["failed"] == 1
    assert await act(sending.house, job, "retry") is not None
    assert await sending.instances(job) == [
        (first, "SENT", ""),
        (second, "PENDING", ""),
        (third, "PENDING", ""),
    ]
    row = await sending.house.row(job)
    assert (row["state"], row["sent"], row["failed"]) == ("PENDING", 1, 0)
    assert [state for state, _ in await sending.house.events(job)][-2:] == ["CANCELLED", "PENDING"]


@pytest.mark.parametrize(
    ("state", "outcome", "instance"),
    [("FAILED", "failed", ("FAILED", "Away")), ("RETRYING", "retry", ("PENDING", ""))],
)
async def test_an_attempt_that_ends_says_what_has_come_of_it(
    sending: Sending, state: str, outcome: str, instance: tuple[str, str]
) -> None:
    job = await sending.job(sop_instance_uids=sending.uids[:2])
    attempt = await sending.claim()
    assert attempt is not None
    first, second = (item.sop_instance_uid for item in attempt.items)
    await sending.record(job, (first, Outcome(Verdict.SENT)))
    attempt.arrived, attempt.failed = 1, 4
    assert await sending.finish(attempt, Ending(state, "Away", wait=30)) is not None
    again = state == "RETRYING"
    assert await sending.attempts(job) == [(1, outcome, "Away", 1, 4, again, True)]
    assert await sending.instances(job) == [(first, "SENT", ""), (second, *instance)]
    assert (await sending.house.row(job))["failed"] == (0 if again else 1)


async def test_the_jobs_of_a_node_s_moves_are_counted_until_they_are_over(sending: Sending) -> None:
    node = "NODE" + new_message_id()[:8]

    async def moves(name: str) -> int:
        async with sending.database.acquire() as db:
            return await sending.jobs.moves(db, name)

    await sending.job()
    assert (await moves(node), await moves("")) == (0, 0)
    job = await sending.job(originator=node, originator_message_id=7)
    assert await moves(node) == 1
    assert await act(sending.house, job, "cancel") is not None
    assert await moves(node) == 0
    # Of several that come at once no more are begun than may be.
    asked = (sending.job(originator=node, originator_message_id=n, most_moves=2) for n in range(5))
    rows = [await sending.house.row(one) for one in await asyncio.gather(*asked)]
    assert await moves(node) == 2
    ended = [row for row in rows if row["state"] == "FAILED"]
    assert [row["reason"] for row in ended] == ["TooManyMoves"] * 3
    assert all(row["failed"] == row["total"] for row in ended)
