"""The table of a kind of job: every statement by which a job enters a state, with its event.

The event goes into the outbox in the same transaction and is made of the row that was written; the
state is counted when the transaction is committed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Generic

import orjson

from darkroom_common.jobs.attempt import REASON_LENGTH, Attempt, Ending
from darkroom_common.jobs.kind import A, Action, JobKind, Row
from darkroom_common.jobs.statements import Statements
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection, after_commit
from darkroom_common.telemetry import traces
from darkroom_common.telemetry.metrics import common as metrics


@dataclass(frozen=True)
class Acted:
    """What an operator's action has met. `after` is None when the state does not take it."""

    lane: str
    before: str
    after: str | None


class JobTable(Generic[A]):
    """Writes the table of a kind."""

    def __init__(self, kind: JobKind[A], outbox: Outbox) -> None:
        self.kind = kind
        self._outbox = outbox
        self._sql = Statements(kind)
        self._lanes: set[str] = set()
        self._wakes: list[Callable[[], object]] = []
        self._told: list[Callable[[str], object]] = []

    def on_waiting(self, wake: Callable[[], object]) -> None:
        """Have a function called whenever this process has committed a job that waits."""
        self._wakes.append(wake)

    def on_over(self, tell: Callable[[str], object]) -> None:
        """Have a function called with the key of each job of which this process commits its end."""
        self._told.append(tell)

    async def entered(
        self, db: Connection, row: Row, trace: Mapping[str, str] | None = None
    ) -> None:
        """Publish and count that a job has entered the state of its row.

        Args:
            db: within the transaction that has written the row.
            row: all of it, as it was written.
            trace: headers of whoever asked for the job; None: the caller's.
        """
        kind = self.kind
        if kind.event is not None:
            carried = traces.inject() if trace is None else dict(trace)
            await self._outbox.put_traced(db, [(kind.event(row), carried)])
        after_commit(db, metrics.JOBS.labels(kind.name, row[kind.lane], row[kind.state]).inc)
        if row[kind.state] == kind.phases.waiting:
            for wake in self._wakes:
                after_commit(db, wake)
        if row[kind.state] in kind.phases.over:
            for tell in self._told:
                after_commit(db, partial(tell, row[kind.key]))
        if row[kind.state] in kind.phases.ended_well and row["finished_at"] is not None:
            took = (row["finished_at"] - row["created_at"]).total_seconds()
            after_commit(db, partial(metrics.JOB_SECONDS.labels(kind.name).observe, took))
        if kind.entered is not None:
            await kind.entered(db, row)

    def attempt(self, row: Row) -> A:
        """Return the attempt at the job of a row."""
        kind = self.kind
        return kind.attempt(
            id=row[kind.key],
            lane=row[kind.lane],
            number=row[kind.attempts] if kind.attempts else row[kind.tries] + 1,
            tries=row[kind.tries],
            rank=row.get("rank", 0.0),
            row=row,
            traceparent=row["traceparent"],
        )

    async def claim(  # noqa: PLR0913 - all but one by keyword
        self,
        db: Connection,
        *,
        lane: str | None,
        owner: str,
        lease: float,
        below: float = float("inf"),
        full: Sequence[str] = (),
        due: Sequence[str] = (),
        not_due: Sequence[str] = (),
        bound: str = "",
    ) -> tuple[A, Ending | None] | None:
        """Claim the job that goes first, if one is due; a dead process's jobs are, too.

        Args:
            db: within a transaction.
            lane: whose job; None: of any lane.
            owner: this process.
            lease: seconds until others may take it over, unless it is renewed.
            below: only a job that ranks before this.
            full: lanes to pass over.
            due: waiting jobs that are due by the monotonic clock, whatever the wall clock says.
            not_due: those that are not, and those in hand.
            bound: the id of what the lane is for: jobs of another one of its name are not its.

        Returns:
            The attempt, and its ending if its kind has ended it at once.
        """
        kind = self.kind
        if kind.alone and lane is not None:
            await db.execute(self._sql.one_by_one, lane)
        elif kind.most:
            await db.execute(self._sql.one_by_one, "")
        statement = self._sql.claim_any if lane is None else self._sql.claim
        row = await db.fetchrow(
            statement, lane, owner, lease, below, list(full), list(due), list(not_due), bound
        )
        if row is None:
            return None
        attempt = self.attempt(row)
        ending = await kind.claimed(db, attempt)
        if ending is None:
            await self.entered(db, row, attempt.trace)
        else:
            await self.finish(db, attempt, ending, owner=owner)
        return attempt, ending

    async def renew(
        self, db: Connection, attempts: Sequence[Attempt], *, owner: str, lease: float
    ) -> set[str]:
        """Keep claimed jobs and write their progress; return those that are still ours."""
        given = [{"job_key": attempt.id} | attempt.progress() for attempt in attempts]
        rows = await db.fetch(self._sql.renew, orjson.dumps(given).decode(), owner, lease)
        return {row["job_key"] for row in rows}

    async def ours(self, db: Connection, attempt: Attempt, *, owner: str) -> bool:
        """Lock the row of a job; return whether it is still this process's."""
        return bool(await db.fetchval(self._sql.ours, attempt.id, owner))

    async def enter(self, db: Connection, attempt: A, state: str, *, owner: str) -> bool:
        """Go on to a further working state; return whether the job is still this process's."""
        row = await db.fetchrow(self._sql.enter, attempt.id, owner, state)
        if row is None:
            return False
        await self.entered(db, row, attempt.trace)
        return True

    async def finish(
        self, db: Connection, attempt: A, ending: Ending, *, owner: str | None
    ) -> Row | None:
        """End an attempt; return the row as written, None when the job was not in these hands.

        Args:
            db: within a transaction.
            attempt: at the job.
            ending: of it.
            owner: this process; None for an end that comes from outside, whoever has the job.
        """
        kind = self.kind
        values: list[Any] = [ending.state, ending.reason[:REASON_LENGTH], ending.wait]
        changes = {
            kind.state: "$3",
            "reason": "$4",
            "wait_seconds": "$5::double precision",
            "next_at": "now() + make_interval(secs => $5::double precision)",
            kind.tries: "0" if attempt.progressed else f"{kind.tries} + {int(ending.counts)}",
            "lease_owner": "''",
            "lease_until": "NULL",
            "updated_at": "now()",
        }
        if ending.state in kind.phases.over:
            changes["finished_at"] = "now()"
        statement = self._sql.finish(changes, ending.columns, values)
        row = await db.fetchrow(statement, attempt.id, owner, *values)
        if row is None:
            return None
        await kind.finished(db, attempt, ending)
        await self.entered(db, row, attempt.trace)
        return row

    async def take_back(self, db: Connection, prefix: str, owner: str) -> int:
        """Give free what an earlier process of this replica had in hand; return how many jobs.

        Args:
            db: within a transaction.
            prefix: of the owners of this replica.
            owner: this process.
        """
        tag = await db.execute(self._sql.take_back, prefix, owner)
        return int(tag.rpartition(" ")[2])

    async def end_orphans(self, db: Connection) -> int:
        """End jobs that wait for what is not there any more; return how many."""
        kind = self.kind
        if not kind.targets:
            return 0
        found = await db.fetch(self._sql.orphans)
        for row in found:
            values: list[Any] = [kind.phases.failed, kind.removed]
            changes = {
                kind.state: "$2",
                "reason": "$3",
                "lease_owner": "''",
                "lease_until": "NULL",
                "finished_at": "now()",
                "updated_at": "now()",
            }
            statement = self._sql.act(changes, {}, values)
            changed = await db.fetchrow(statement, row["job_key"], *values)
            if changed is not None:
                await kind.orphaned(db, changed)
                await self.entered(db, changed)
        return len(found)

    async def act(self, db: Connection, job: str, action: Action, *, by: str) -> Acted | None:
        """Do what an operator says; None when there is no such job."""
        kind = self.kind
        row = await db.fetchrow(self._sql.find, job)
        if row is None:
            return None
        before, lane = row[kind.state], row[kind.lane]
        after = kind.actions.get((action, before))
        if after is None:
            return Acted(lane, before, None)
        columns = dict(await kind.acted(db, row, action))
        after = columns.pop(kind.state, after)
        values: list[Any] = [after, "Cancelled" if action == "cancel" else ""]
        changes = {
            kind.state: "$2",
            "reason": "$3",
            kind.tries: "0",
            "wait_seconds": "0",
            "next_at": "now()",
            "lease_owner": "''",
            "lease_until": "NULL",
            "finished_at": "now()" if after in kind.phases.over else "NULL",
            "updated_at": "now()",
        }
        statement = self._sql.act(changes, columns, values)
        changed = await db.fetchrow(statement, job, *values)
        if changed is not None:
            await self.entered(db, changed)
        await self.log_change(db, by, action, job)
        return Acted(lane, before, after)

    async def log_change(self, db: Connection, by: str, action: str, job: str) -> None:
        """Leave a row of who did what to a job."""
        await db.execute(self._sql.log, by, action, self.kind.change, job)

    async def count(self, db: Connection, lanes: Sequence[str]) -> None:
        """Set the gauges of lanes, and of those that there are only jobs of any more."""
        kind = self.kind
        rows = await db.fetch(self._sql.count)
        found = {(row["lane"], row["state"]): row for row in rows}
        self._lanes |= {*lanes, *(of for of, _ in found)}
        for lane in self._lanes:
            for state in kind.phases.shown:
                row = found.get((lane, state))
                metrics.JOBS_NOW.labels(kind.name, lane, state).set(row["jobs"] if row else 0)
            ages = [
                row["age"]
                for (of, state), row in found.items()
                if of == lane and state not in kind.phases.over
            ]
            metrics.JOBS_OLDEST.labels(kind.name, lane).set(max(ages, default=0.0))

    async def remove(self, db: Connection, older_than: timedelta) -> int:
        """Remove some jobs that have ended well or were cancelled so long ago; return how many."""
        tag = await db.execute(self._sql.remove, older_than, self.kind.removed_at_once)
        return int(tag.rpartition(" ")[2])
