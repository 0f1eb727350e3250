"""Retrieve jobs in PostgreSQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from darkroom_common.messages.remote import RetrieveFromRemote
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.telemetry import metrics, traces
from darkroom_transmit.retrieval.decision import Order, Verdict
from darkroom_transmit.retrieval.dimse import Handle

_CLAIM: Final = (
    "UPDATE transmit.retrieve SET state = 'RETRIEVING', attempts = attempts + 1, reason = '',"
    " lease_owner = $1, lease_until = now() + make_interval(secs => $2), updated_at = now()"
    " WHERE id = (SELECT id FROM transmit.retrieve WHERE NOT remote = ANY($3::text[])"
    "   AND ((state IN ('PENDING', 'RETRYING') AND next_at <= now())"
    "     OR (state = 'RETRIEVING' AND lease_until < now()))"
    "   ORDER BY next_at, created_at LIMIT 1 FOR UPDATE SKIP LOCKED)"
    " RETURNING *"
)


@dataclass(frozen=True)
class ClaimedRetrieve:
    """A job in the hands of this process. `completed` and `warned`: of earlier attempts."""

    id: str
    remote: str
    order: Order
    tries: int
    cancel: bool
    completed: int
    warned: int
    traceparent: str


@dataclass(frozen=True)
class RetrieveRepository:
    """Writes the table `retrieve`."""

    database: Database

    async def add(
        self,
        db: Connection,
        asked: RetrieveFromRemote,
        *,
        rule: str = "",
        prior_of: str = "",
        traceparent: str | None = None,
    ) -> bool:
        """Keep a job; return whether it is new."""
        trace = traces.inject().get("traceparent", "") if traceparent is None else traceparent
        new = await db.fetchval(
            "INSERT INTO transmit.retrieve (id, remote, method, study_instance_uid,"
            " series_instance_uid, sop_instance_uids, rule, prior_of, requested_by, traceparent)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING RETURNING id",
            asked.job_id,
            asked.remote,
            asked.method,
            asked.study_instance_uid,
            asked.series_instance_uid,
            list(asked.sop_instance_uids),
            rule,
            prior_of,
            asked.requested_by,
            trace,
        )
        if new is None:
            return False
        await log_change(db, asked.requested_by or rule, "added", asked.job_id)
        metrics.RETRIEVE_JOBS.labels(asked.remote, "PENDING").inc()
        return True

    async def claim(
        self, *, owner: str, lease_seconds: float, busy: Sequence[str]
    ) -> ClaimedRetrieve | None:
        """Return a job that is due, or whose process has died, and is now this process's."""
        async with self.database.acquire() as db:
            row = await db.fetchrow(_CLAIM, owner, lease_seconds, list(busy))
        if row is None:
            return None
        metrics.RETRIEVE_JOBS.labels(row["remote"], "RETRIEVING").inc()
        wanted = tuple(row["wanted"])
        order = Order(
            row["study_instance_uid"],
            row["series_instance_uid"],
            tuple(row["sop_instance_uids"]),
            wanted,
            row["method"],
        )
        return ClaimedRetrieve(
            id=row["id"],
            remote=row["remote"],
            order=order,
            tries=row["tries"],
            cancel=row["cancel"],
            completed=row["completed"] if wanted else 0,
            warned=row["warned"] if wanted else 0,
            traceparent=row["traceparent"],
        )

    async def renew(
        self, claimed: ClaimedRetrieve, handle: Handle, *, owner: str, lease_seconds: float
    ) -> bool:
        """Keep a job and show how far it is; return whether it is to go on."""
        async with self.database.acquire() as db:
            cancel = await db.fetchval(
                "UPDATE transmit.retrieve SET lease_until = now() + make_interval(secs => $3),"
                " remaining = $4, completed = $5, failed = $6, warned = $7, updated_at = now()"
                " WHERE id = $1 AND lease_owner = $2 AND state = 'RETRIEVING' RETURNING cancel",
                claimed.id,
                owner,
                lease_seconds,
                handle.remaining,
                claimed.completed + handle.completed,
                handle.failed,
                claimed.warned + handle.warned,
            )
        return cancel is False

    async def finish(  # noqa: PLR0913 - the columns of an end
        self,
        claimed: ClaimedRetrieve,
        handle: Handle,
        verdict: Verdict,
        *,
        owner: str,
        status: int | None,
        delay: float | None,
    ) -> str:
        """Keep the end of an attempt; return the state. Without `delay` nothing is tried again."""
        state = verdict.state
        last = "FAILED" if delay is None else "RETRYING"
        kept = last if state == "RETRY" else state
        async with self.database.acquire() as db:
            await db.execute(
                "UPDATE transmit.retrieve SET state = $3, reason = $4, status = $5, wanted = $6,"
                " remaining = NULL, completed = $7, failed = $8, warned = $9, tries = tries + 1,"
                " next_at = now() + make_interval(secs => $10), lease_owner = '',"
                " lease_until = NULL, cancel = false, updated_at = now(),"
                " finished_at = CASE WHEN $3 = 'RETRYING' THEN NULL ELSE now() END"
                " WHERE id = $1 AND lease_owner = $2 AND state = 'RETRIEVING'",
                claimed.id,
                owner,
                kept,
                verdict.reason,
                status,
                list(verdict.wanted),
                claimed.completed + handle.completed,
                handle.failed,
                claimed.warned + handle.warned,
                delay or 0.0,
            )
        metrics.RETRIEVE_JOBS.labels(claimed.remote, kept).inc()
        for outcome, count in (
            ("completed", handle.completed),
            ("failed", handle.failed),
            ("warned", handle.warned),
        ):
            metrics.RETRIEVE_INSTANCES.labels(claimed.remote, outcome).inc(count)
        return kept

    async def give_back(self, claimed: ClaimedRetrieve, *, owner: str) -> None:
        """Let a job begin again at once: this process ends."""
        async with self.database.acquire() as db:
            await db.execute(
                "UPDATE transmit.retrieve SET state = 'PENDING', lease_owner = '',"
                " lease_until = NULL, remaining = NULL, next_at = now(), updated_at = now()"
                " WHERE id = $1 AND lease_owner = $2 AND state = 'RETRIEVING'",
                claimed.id,
                owner,
            )

    async def act(
        self, db: Connection, job_id: str, action: Literal["retry", "cancel"], *, by: str
    ) -> tuple[str, bool] | None:
        """Return (state, whether it could be done); None when there is no such job."""
        before = await db.fetchval(
            "SELECT state FROM transmit.retrieve WHERE id = $1 FOR UPDATE", job_id
        )
        if before is None:
            return None
        if action == "retry":
            fits = before in {"FAILED", "CANCELLED"}
            change = "state = 'PENDING', tries = 0, next_at = now(), cancel = false,"
            change += " reason = '', finished_at = NULL"
        elif before == "RETRIEVING":
            fits, change = True, "cancel = true"
        else:
            fits = before in {"PENDING", "RETRYING"}
            change = "state = 'CANCELLED', reason = 'Cancelled', finished_at = now()"
        if not fits:
            return str(before), False
        state = await db.fetchval(
            f"UPDATE transmit.retrieve SET {change}, updated_at = now()"  # noqa: S608 - our own words
            " WHERE id = $1 RETURNING state",
            job_id,
        )
        await log_change(db, by, action, job_id)
        return str(state), True


async def log_change(db: Connection, by: str, action: str, name: str) -> None:
    """Leave a row of who did what to a retrieve job."""
    await db.execute(
        "INSERT INTO transmit.change (by, action, kind, name) VALUES ($1, $2, 'retrieve', $3)",
        by,
        action,
        name,
    )
