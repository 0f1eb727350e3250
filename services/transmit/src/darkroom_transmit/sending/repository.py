"""Jobs of transmit in PostgreSQL."""

from collections import deque
from collections.abc import Sequence
from typing import Final

from darkroom_common.index.origin import links_to_origin
from darkroom_common.messages.api import SendObjects
from darkroom_common.messages.jobs import TransmitJobChanged, TransmitState
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection
from darkroom_common.telemetry import metrics, traces
from darkroom_transmit.sending.job import RANK_SECONDS, Claimed, Ending, Progress, Result
from darkroom_transmit.sending.outcome import Verdict
from darkroom_transmit.sending.sources import Item

_FOUND: Final = (
    " FROM index.study s JOIN index.series e ON e.study_id = s.id"
    " JOIN index.instance i ON i.series_id = e.id WHERE s.status <> 'deleted'"
    " AND ($1::text IS NULL OR s.study_instance_uid = $1)"
    " AND ($2::text IS NULL OR e.series_instance_uid = $2)"
    " AND (cardinality($3::text[]) = 0 OR i.sop_instance_uid = ANY($3::text[]))"
    " ORDER BY e.series_number, e.id, i.instance_number, i.id"
)
_RANK: Final = (
    "(CASE priority WHEN 'high' THEN 0 WHEN 'medium' THEN 1 ELSE 2 END"
    f" - extract(epoch FROM now() - created_at) / {RANK_SECONDS})"
)
# A job waits at most wait_seconds: when next_at is farther away, the clock was set back.
_DUE: Final = (
    "(next_at <= now() OR next_at > now() + make_interval(secs => wait_seconds + 1)"
    " OR id = ANY($3::text[]))"
)
_CLAIM: Final = (
    "UPDATE transmit.job SET state = 'SENDING', attempts = attempts + 1, reason = '',"  # noqa: S608 - our own words
    " lease_owner = $2, lease_until = now() + make_interval(secs => $5), updated_at = now()"
    " WHERE id = (SELECT id FROM transmit.job WHERE destination = $1"
    f" AND NOT id = ANY($4::text[]) AND ((state IN ('PENDING', 'RETRYING') AND {_DUE})"
    "   OR (state = 'SENDING' AND (lease_until < now()"
    "     OR lease_until > now() + make_interval(secs => $5 * 2))))"
    f" AND {_RANK} < $6"
    f" ORDER BY {_RANK} LIMIT 1 FOR UPDATE SKIP LOCKED)"
    " RETURNING id, destination, priority, attempts, tries, created_at, traceparent,"
    f" {_RANK}::double precision AS rank"
)
_ITEMS: Final = (
    "SELECT j.sop_instance_uid, i.sop_class_uid, i.transfer_syntax_uid, i.object_key, i.size,"
    " i.data_set_offset, j.tries FROM transmit.job_instance j"
    " LEFT JOIN index.instance i ON i.sop_instance_uid = j.sop_instance_uid"
    " WHERE j.job_id = $1 AND j.state = 'PENDING' ORDER BY j.tries, j.position"
)


class JobRepository:
    """Writes the jobs. Every change of a state puts its event into the outbox."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def add(self, db: Connection, request: SendObjects, *, rule: str = "") -> bool:
        """Add a job with the instances that the index has of it; return whether it is new."""
        known = await db.fetchval(
            "SELECT true FROM transmit.destination WHERE name = $1", request.destination
        )
        uids = list(request.sop_instance_uids)
        found = [
            row["sop_instance_uid"]
            for row in await db.fetch(
                f"SELECT i.sop_instance_uid {_FOUND}",
                request.study_instance_uid,
                request.series_instance_uid,
                uids,
            )
        ]
        missing = sorted(set(uids) - set(found))
        total = len(found) + len(missing)
        reason = "" if known else "UnknownDestination"
        if known and not found:
            reason = "ObjectsNotFound"
        state: TransmitState = "FAILED" if reason else "PENDING"
        added = await db.fetchval(
            "INSERT INTO transmit.job (id, destination, study_instance_uid, series_instance_uid,"
            " sop_instance_uids, priority, requested_by, traceparent, state, reason, rule,"
            " resolved, total, failed, finished_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, true, $12, $13,"
            " CASE WHEN $9 = 'FAILED' THEN now() END)"
            " ON CONFLICT DO NOTHING RETURNING id",
            request.job_id,
            request.destination,
            request.study_instance_uid,
            request.series_instance_uid,
            uids,
            request.priority,
            request.requested_by,
            traces.inject().get("traceparent", ""),
            state,
            reason,
            rule,
            total,
            len(missing),
        )
        if added is None:
            return False
        await db.execute(
            "INSERT INTO transmit.job_instance (job_id, sop_instance_uid, position, state, reason)"
            " SELECT $1, uid, place, CASE WHEN missing THEN 'FAILED' ELSE 'PENDING' END,"
            " CASE WHEN missing THEN 'ObjectNotFound' ELSE '' END"
            " FROM unnest($2::text[], $3::boolean[]) WITH ORDINALITY AS g (uid, missing, place)",
            request.job_id,
            [*found, *missing],
            [False] * len(found) + [True] * len(missing),
        )
        await self._changed(db, _event(request.job_id, request.destination, state))
        return True

    async def _changed(
        self, db: Connection, changed: TransmitJobChanged, trace: dict[str, str] | None = None
    ) -> None:
        carried = traces.inject() if trace is None else trace
        await self._outbox.put_traced(db, [(changed, carried)])
        metrics.TRANSMIT_JOBS.labels(changed.destination, changed.state).inc()

    async def claim(  # noqa: PLR0913 - all but two by keyword
        self,
        db: Connection,
        destination: str,
        *,
        owner: str,
        lease: float,
        due: Sequence[str],
        not_due: Sequence[str],
        below: float,
    ) -> Claimed | None:
        """Claim the job that goes first, if one is due.

        Args:
            db: within a transaction.
            destination: whose job.
            owner: this process.
            lease: seconds until others may take it over, unless it is renewed.
            due: waiting jobs that are due by the monotonic clock, whatever the wall clock says.
            not_due: those that are not, and those that are being sent here.
            below: only a job that ranks before this.
        """
        row = await db.fetchrow(_CLAIM, destination, owner, list(due), list(not_due), lease, below)
        if row is None:
            return None
        claimed = Claimed(
            row["id"],
            row["destination"],
            row["priority"],
            row["attempts"],
            row["tries"],
            row["created_at"],
            row["traceparent"],
            row["rank"],
        )
        await db.execute(
            "INSERT INTO transmit.attempt (job_id, number) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            claimed.id,
            claimed.number,
        )
        gone: list[str] = []
        items: deque[Item] = deque()
        for item in await db.fetch(_ITEMS, claimed.id):
            if item["object_key"] is None:
                gone.append(item["sop_instance_uid"])
            else:
                items.append(Item(*item))
        claimed.items = items
        if items:
            claimed.origin = await links_to_origin(db, items[0].sop_instance_uid)
        if gone:
            await db.execute(
                "UPDATE transmit.job_instance SET state = 'FAILED', reason = 'ObjectNotFound',"
                " updated_at = now() WHERE job_id = $1 AND sop_instance_uid = ANY($2::text[])",
                claimed.id,
                gone,
            )
            await db.execute(
                "UPDATE transmit.job SET failed = failed + $2 WHERE id = $1", claimed.id, len(gone)
            )
        await self._changed(
            db, _event(claimed.id, destination, "SENDING", claimed.number), claimed.trace
        )
        return claimed

    async def renew(
        self, db: Connection, ids: Sequence[str], *, owner: str, lease: float
    ) -> set[str]:
        """Keep claimed jobs, and return those that are still ours to send."""
        rows = await db.fetch(
            "UPDATE transmit.job SET lease_until = now() + make_interval(secs => $3)"
            " WHERE id = ANY($1::text[]) AND lease_owner = $2 AND state = 'SENDING' RETURNING id",
            list(ids),
            owner,
            lease,
        )
        return {row["id"] for row in rows}

    async def record(self, db: Connection, results: Sequence[Result]) -> None:
        """Keep what became of instances. One that is kept already stays as it is."""
        await db.execute(
            "WITH given AS (SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[],"
            "   $5::text[], $6::text[], $7::boolean[])"
            "   AS g (job_id, uid, state, status, reason, syntax, warned)),"
            " changed AS (UPDATE transmit.job_instance j SET state = g.state, status = g.status,"
            "   reason = g.reason, transfer_syntax_uid = g.syntax, tries = j.tries + 1,"
            "   updated_at = now() FROM given g"
            "   WHERE j.job_id = g.job_id AND j.sop_instance_uid = g.uid"
            "   AND (j.state = 'PENDING' OR (j.state = 'CANCELLED' AND g.state = 'SENT'))"
            "   RETURNING j.job_id, g.state, g.warned),"
            " counted AS (SELECT job_id, count(*) FILTER (WHERE state = 'SENT') AS sent,"
            "   count(*) FILTER (WHERE state = 'FAILED') AS failed,"
            "   count(*) FILTER (WHERE warned) AS warned FROM changed GROUP BY job_id)"
            " UPDATE transmit.job SET sent = job.sent + c.sent, failed = job.failed + c.failed,"
            " warned = job.warned + c.warned, updated_at = now()"
            " FROM counted c WHERE job.id = c.job_id",
            [result.job_id for result in results],
            [result.sop_instance_uid for result in results],
            [_instance_state(result) for result in results],
            [result.outcome.status for result in results],
            [result.outcome.reason for result in results],
            [result.outcome.transfer_syntax_uid for result in results],
            [result.outcome.verdict is Verdict.WARNED for result in results],
        )

    async def progress(self, db: Connection, job_id: str) -> Progress:
        """Return how far a job is."""
        row = await db.fetchrow(
            "SELECT count(*) AS total, count(*) FILTER (WHERE state = 'PENDING') AS pending,"
            " count(*) FILTER (WHERE state = 'FAILED') AS failed,"
            " mode() WITHIN GROUP (ORDER BY reason) FILTER (WHERE state = 'FAILED') AS why,"
            " mode() WITHIN GROUP (ORDER BY reason)"
            "   FILTER (WHERE state = 'PENDING' AND reason <> '') AS why_pending"
            " FROM transmit.job_instance WHERE job_id = $1",
            job_id,
        )
        if row is None:
            return Progress(0, 0, 0, "")
        return Progress(
            row["total"], row["pending"], row["failed"], row["why_pending"] or row["why"] or ""
        )

    async def finish(self, db: Connection, claimed: Claimed, ending: Ending, *, owner: str) -> bool:
        """End an attempt; return whether the job was still ours."""
        mine = await db.fetchrow(
            "UPDATE transmit.job SET state = $3, reason = $4, lease_owner = '', lease_until = NULL,"
            " tries = tries + $5, wait_seconds = $6,"
            " next_at = now() + make_interval(secs => $6), updated_at = now(),"
            " finished_at = CASE WHEN $3 IN ('SENT', 'FAILED') THEN now() END,"
            " commitment = CASE WHEN $3 = 'SENT' AND $7 THEN 'wanted' ELSE '' END"
            " WHERE id = $1 AND lease_owner = $2 AND state = 'SENDING' RETURNING next_at",
            claimed.id,
            owner,
            ending.state,
            ending.reason,
            int(ending.counts),
            ending.wait,
            ending.commitment,
        )
        if mine is None:
            return False
        if ending.state == "FAILED":
            await self._fail_rest(db, claimed.id, ending.reason)
        await db.execute(
            "UPDATE transmit.attempt SET ended_at = now(), outcome = $3, reason = $4, sent = $5,"
            " failed = $6, next_at = $7 WHERE job_id = $1 AND number = $2",
            claimed.id,
            claimed.number,
            ending.outcome,
            ending.reason,
            claimed.arrived,
            claimed.failed,
            mine["next_at"] if ending.state in ("RETRYING", "PENDING") else None,
        )
        await self._changed(
            db, _event(claimed.id, claimed.destination, ending.state, claimed.number), claimed.trace
        )
        return True

    @staticmethod
    async def _fail_rest(db: Connection, job_id: str, reason: str) -> None:
        await db.execute(
            "WITH rest AS (UPDATE transmit.job_instance SET state = 'FAILED',"
            " reason = CASE WHEN reason = '' THEN $2 ELSE reason END, updated_at = now()"
            " WHERE job_id = $1 AND state = 'PENDING' RETURNING 1)"
            " UPDATE transmit.job SET failed = failed + (SELECT count(*) FROM rest) WHERE id = $1",
            job_id,
            reason,
        )

    async def retry(self, db: Connection, job_id: str) -> str | None:
        """Have what failed sent again; return the job's state before, None when there is none."""
        row = await db.fetchrow(
            "SELECT state, destination FROM transmit.job WHERE id = $1 FOR UPDATE", job_id
        )
        if row is None:
            return None
        state = str(row["state"])
        if state not in ("FAILED", "CANCELLED", "RETRYING"):
            return state
        await db.execute(
            "UPDATE transmit.job_instance SET state = 'PENDING', reason = '', status = NULL,"
            " updated_at = now() WHERE job_id = $1 AND state IN ('FAILED', 'CANCELLED')",
            job_id,
        )
        await db.execute(
            "UPDATE transmit.job SET state = 'PENDING', reason = '', tries = 0, failed = 0,"
            " commitment_tries = 0, wait_seconds = 0, next_at = now(), finished_at = NULL,"
            " updated_at = now() WHERE id = $1",
            job_id,
        )
        await self._changed(db, _event(job_id, row["destination"], "PENDING"))
        return state

    async def cancel(self, db: Connection, job_id: str) -> str | None:
        """Cancel a job that is not over; return its state before, None when there is none."""
        row = await db.fetchrow(
            "SELECT state, destination FROM transmit.job WHERE id = $1 FOR UPDATE", job_id
        )
        if row is None:
            return None
        state = str(row["state"])
        if state not in ("PENDING", "RETRYING", "SENDING"):
            return state
        await db.execute(
            "UPDATE transmit.job_instance SET state = 'CANCELLED', updated_at = now()"
            " WHERE job_id = $1 AND state = 'PENDING'",
            job_id,
        )
        await db.execute(
            "UPDATE transmit.job SET state = 'CANCELLED', finished_at = now(), lease_owner = '',"
            " lease_until = NULL, updated_at = now() WHERE id = $1",
            job_id,
        )
        await self._changed(db, _event(job_id, row["destination"], "CANCELLED"))
        return state


def _event(
    job_id: str, destination: str, state: TransmitState, attempt: int = 0
) -> TransmitJobChanged:
    return TransmitJobChanged(job_id=job_id, destination=destination, state=state, attempt=attempt)


def _instance_state(result: Result) -> str:
    match result.outcome.verdict:
        case Verdict.SENT | Verdict.WARNED:
            return "SENT"
        case Verdict.FAILED:
            return "FAILED"
        case Verdict.RETRY:
            return "PENDING"
