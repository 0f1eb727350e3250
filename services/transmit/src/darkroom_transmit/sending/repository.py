"""Jobs of sending in PostgreSQL: what the engine does not know of them, and their instances."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from darkroom_common.index.objects import INSTANCES, find_objects
from darkroom_common.index.origin import links_to_origin
from darkroom_common.jobs.attempt import Ending
from darkroom_common.jobs.kind import Action, JobKind, Row, usual_actions
from darkroom_common.jobs.table import JobTable
from darkroom_common.messages.commands import SendObjects
from darkroom_common.messages.events import TransmitJobChanged
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection
from darkroom_common.resources.declared import DESTINATIONS
from darkroom_common.resources.identity import NOBODY, identity
from darkroom_common.telemetry import traces
from darkroom_transmit.sending.job import PHASES, RANK_SECONDS, Claimed, Progress, Result
from darkroom_transmit.sending.outcome import Verdict
from darkroom_transmit.sending.sources import Item

_RANK: Final = (
    "CASE priority WHEN 'high' THEN 0 WHEN 'medium' THEN 1 ELSE 2 END"
    f" + extract(epoch FROM created_at) / {RANK_SECONDS}"
)
_ADD: Final = (
    "INSERT INTO transmit.job (id, destination, study_instance_uid, series_instance_uid,"
    " sop_instance_uids, priority, requested_by, traceparent, state, reason, rule,"
    " resolved, total, failed, finished_at, created_at, destination_id, originator,"
    " originator_message_id)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, true, $12, $13,"
    " CASE WHEN $9 = 'FAILED' THEN now() END, $14, $15, $16, $17)"
    " ON CONFLICT DO NOTHING RETURNING *"
)
_ADD_INSTANCES: Final = (
    "INSERT INTO transmit.job_instance (job_id, sop_instance_uid, position, state, reason)"
    " SELECT $1, uid, place, CASE WHEN missing THEN 'FAILED' ELSE 'PENDING' END,"
    " CASE WHEN missing THEN $4 ELSE '' END"
    " FROM unnest($2::text[], $3::boolean[]) WITH ORDINALITY AS g (uid, missing, place)"
)
_LISTED: Final = " FROM transmit.job_instance j"
_ITEMS: Final = (
    "SELECT j.sop_instance_uid, i.sop_class_uid, i.transfer_syntax_uid, i.object_key, i.size,"
    f" i.data_set_offset, j.faults{_LISTED}"
    f" LEFT JOIN {INSTANCES} i ON i.sop_instance_uid = j.sop_instance_uid"
    " WHERE j.job_id = $1 AND j.state = 'PENDING' ORDER BY j.faults, j.tries, j.position"
)
_GONE: Final = (
    "WITH gone AS (UPDATE transmit.job_instance SET state = 'FAILED', reason = 'ObjectNotFound',"
    " updated_at = now() WHERE job_id = $1 AND sop_instance_uid = ANY($2::text[]) RETURNING 1)"
    " UPDATE transmit.job SET failed = failed + (SELECT count(*) FROM gone) WHERE id = $1"
)
_BEGUN: Final = (
    "INSERT INTO transmit.attempt (job_id, number) VALUES ($1, $2) ON CONFLICT DO NOTHING"
)
_LOCK: Final = "SELECT FROM transmit.job WHERE id = ANY($1::text[]) ORDER BY id FOR NO KEY UPDATE"
_RECORD: Final = (
    "WITH given AS (SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[],"
    "   $5::text[], $6::text[], $7::boolean[], $8::integer[])"
    "   AS g (job_id, uid, state, status, reason, syntax, warned, faults)),"
    " changed AS (UPDATE transmit.job_instance j SET state = g.state, status = g.status,"
    "   reason = g.reason, transfer_syntax_uid = g.syntax, tries = j.tries + 1,"
    "   faults = j.faults + g.faults,"
    "   updated_at = now() FROM given g"
    "   WHERE j.job_id = g.job_id AND j.sop_instance_uid = g.uid"
    "   AND (j.state = 'PENDING' OR (j.state = 'CANCELLED' AND g.state = 'SENT'))"
    "   RETURNING j.job_id, g.state, g.warned),"
    " counted AS (SELECT job_id, count(*) FILTER (WHERE state = 'SENT') AS sent,"
    "   count(*) FILTER (WHERE state = 'FAILED') AS failed,"
    "   count(*) FILTER (WHERE warned) AS warned FROM changed GROUP BY job_id)"
    " UPDATE transmit.job SET sent = job.sent + c.sent, failed = job.failed + c.failed,"
    " warned = job.warned + c.warned, updated_at = now()"
    " FROM counted c WHERE job.id = c.job_id"
)
_PROGRESS: Final = (
    "SELECT count(*) AS total, count(*) FILTER (WHERE state = 'PENDING') AS pending,"
    " count(*) FILTER (WHERE state = 'FAILED') AS failed,"
    " mode() WITHIN GROUP (ORDER BY reason) FILTER (WHERE state = 'FAILED') AS why,"
    " mode() WITHIN GROUP (ORDER BY reason)"
    "   FILTER (WHERE state = 'PENDING' AND reason <> '') AS why_pending"
    " FROM transmit.job_instance WHERE job_id = $1"
)
_FOLLOWED: Final = "SELECT state, total, sent, failed, warned FROM transmit.job WHERE id = $1"
_NOT_SENT: Final = (
    "SELECT coalesce(array_agg(sop_instance_uid ORDER BY position)"
    "   FILTER (WHERE state = 'FAILED'), '{}') AS failed_uids,"
    " coalesce(array_agg(sop_instance_uid ORDER BY position)"
    "   FILTER (WHERE state <> 'FAILED'), '{}') AS left_uids"
    " FROM transmit.job_instance WHERE job_id = $1 AND state NOT IN ('SENT', 'COMMITTED')"
)
_MOVES: Final = (  # job_moves
    "SELECT count(*) FROM transmit.job"
    " WHERE originator = $1 AND originator <> '' AND finished_at IS NULL"
)
_MOVES_ALONE: Final = (
    "SELECT pg_advisory_xact_lock(hashtextextended('darkroom moves ' || $1::text, 0))"
)
_TOO_MANY: Final = "TooManyMoves"
_FAIL_REST: Final = (
    "WITH rest AS (UPDATE transmit.job_instance SET state = 'FAILED',"
    " reason = CASE WHEN reason = '' THEN $2 ELSE reason END, updated_at = now()"
    " WHERE job_id = $1 AND state = 'PENDING' RETURNING 1)"
    " UPDATE transmit.job SET failed = failed + (SELECT count(*) FROM rest) WHERE id = $1"
)
_ENDED: Final = (
    "UPDATE transmit.attempt SET ended_at = now(), outcome = $3, reason = $4, sent = $5,"
    " failed = $6, next_at = CASE WHEN $7 THEN now() + make_interval(secs => $8) END"
    " WHERE job_id = $1 AND number = $2"
)
_OUTCOMES: Final = {
    "SENT": "sent",
    "FAILED": "failed",
    "RETRYING": "retry",
    "PENDING": "interrupted",
}
_AGAIN: Final = (
    "UPDATE transmit.job_instance SET state = 'PENDING', reason = '', status = NULL, faults = 0,"
    " updated_at = now() WHERE job_id = $1 AND state IN ('FAILED', 'CANCELLED')"
)
_CANCEL: Final = (
    "UPDATE transmit.job_instance SET state = 'CANCELLED', updated_at = now()"
    " WHERE job_id = $1 AND state = 'PENDING'"
)


class SendJobs:
    """Writes the tables `job`, `job_instance` and `attempt`."""

    def __init__(self, outbox: Outbox) -> None:
        self.kind = JobKind(
            name="send",
            table="transmit.job",
            lane="destination",
            target="destination_id",
            targets="transmit.destination",
            phases=PHASES,
            attempt=Claimed,
            rank=_RANK,
            actions=usual_actions(PHASES),
            event=_event,
            removable="commitment NOT IN ('wanted', 'asked')",
            removed_at_once=20,  # with them go their instances: thousands of each
            claimed=self.claimed,
            finished=self.finished,
            acted=self.acted,
            orphaned=self.orphaned,
        )
        self.table = JobTable(self.kind, outbox)

    async def add(self, db: Connection, request: SendObjects, *, rule: str = "") -> bool:
        """Add a job with the instances that the index has of it; return whether it is new."""
        meant = request.destination_id
        known = await identity(db, DESTINATIONS, request.destination, meant)
        uids = list(request.sop_instance_uids)
        study, series = request.study_instance_uid, request.series_instance_uid
        found = await find_objects(db, study, series, uids)
        missing = sorted(set(uids) - set(found))
        reason = "" if known else "UnknownDestination"
        if known and not found:
            reason = "ObjectsNotFound"
        if not reason and await self._too_many(db, request):
            reason = _TOO_MANY
            missing, found = sorted(set(found) | set(missing)), []
        row = await db.fetchrow(
            _ADD,
            request.job_id,
            request.destination,
            request.study_instance_uid,
            request.series_instance_uid,
            uids,
            request.priority,
            request.requested_by,
            traces.inject().get("traceparent", ""),
            PHASES.failed if reason else PHASES.waiting,
            reason,
            rule,
            len(found) + len(missing),
            len(missing),
            request.occurred_at,
            known or meant or NOBODY,
            request.originator,
            request.originator_message_id,
        )
        if row is None:
            return False
        absent = [False] * len(found) + [True] * len(missing)
        why = _TOO_MANY if reason == _TOO_MANY else "ObjectNotFound"
        await db.execute(_ADD_INSTANCES, request.job_id, [*found, *missing], absent, why)
        await self.table.entered(db, row)
        return True

    @staticmethod
    async def claimed(db: Connection, job: Claimed) -> Ending | None:
        """Load what is left to send of a claimed job."""
        await db.execute(_BEGUN, job.id, job.number)
        gone: list[str] = []
        for row in await db.fetch(_ITEMS, job.id):
            if row["object_key"] is None:
                gone.append(row["sop_instance_uid"])
            else:
                item = Item(*row)
                (job.suspects if item.faults else job.items).append(item)
        if job.is_ready:
            first = (*job.items, *job.suspects)[0]
            job.links = await links_to_origin(db, first.sop_instance_uid)
        if gone:
            await db.execute(_GONE, job.id, gone)
        return None

    @staticmethod
    async def record(db: Connection, results: Sequence[Result]) -> None:
        """Keep what became of instances, in this order. One that is kept already stays as it is.

        Of several rows for one instance a statement would take any one. The rows of the jobs are
        locked before those of their instances, as all do who change both.
        """
        await db.execute(_LOCK, list({result.job_id for result in results}))
        for some in _one_of_each(results):
            await db.execute(
                _RECORD,
                [result.job_id for result in some],
                [result.sop_instance_uid for result in some],
                [_instance_state(result) for result in some],
                [result.outcome.status for result in some],
                [result.outcome.reason for result in some],
                [result.outcome.transfer_syntax_uid for result in some],
                [result.outcome.verdict is Verdict.WARNED for result in some],
                [int(result.outcome.verdict is Verdict.SUSPECT) for result in some],
            )

    @staticmethod
    async def followed(db: Connection, job_id: str, *, named: bool) -> dict[str, Any] | None:
        """Return state and counts of a job, and whether it is over; None when there is none.

        Args:
            db: where it is.
            job_id: of the job.
            named: whether the instances that have failed, and that were not sent, are named; those
                of a job that is over always are.
        """
        row = await db.fetchrow(_FOLLOWED, job_id)
        if row is None:
            return None
        over = row["state"] in PHASES.over
        uids = await db.fetchrow(_NOT_SENT, job_id) if named or over else None
        return {**row, **(uids or {}), "over": over}

    @staticmethod
    async def moves(db: Connection, originator: str) -> int:
        """Return how many jobs of a node's C-MOVEs are not over."""
        found: int = await db.fetchval(_MOVES, originator)
        return found

    async def _too_many(self, db: Connection, request: SendObjects) -> bool:
        """Tell whether a node has more C-MOVEs under way than it may, seen one after the other."""
        if not (request.originator and request.most_moves):
            return False
        await db.execute(_MOVES_ALONE, request.originator)
        return await self.moves(db, request.originator) >= request.most_moves

    @staticmethod
    async def progress(db: Connection, job_id: str) -> Progress:
        """Return how far a job is."""
        row = await db.fetchrow(_PROGRESS, job_id)
        if row is None:
            return Progress(0, 0, 0, "")
        return Progress(
            row["total"], row["pending"], row["failed"], row["why_pending"] or row["why"] or ""
        )

    @staticmethod
    async def finished(db: Connection, job: Claimed, ending: Ending) -> None:
        """Keep what an attempt has come to."""
        if ending.state == PHASES.failed:
            await db.execute(_FAIL_REST, job.id, ending.reason)
        await db.execute(
            _ENDED,
            job.id,
            job.number,
            _OUTCOMES[ending.state],
            ending.reason,
            job.arrived,
            job.failed,
            ending.state in (PHASES.waiting, PHASES.retrying),
            ending.wait,
        )

    @staticmethod
    async def orphaned(db: Connection, row: Row) -> None:
        """Keep that what was left to send is not."""
        await db.execute(_FAIL_REST, row["id"], row["reason"])

    @staticmethod
    async def acted(db: Connection, row: Row, action: Action) -> Mapping[str, Any]:
        """Have what failed sent again, or cancel what waits."""
        if action == "cancel":
            await db.execute(_CANCEL, row["id"])
            return {}
        await db.execute(_AGAIN, row["id"])
        return {"failed": 0, "commitment_tries": 0}


def _event(row: Row) -> TransmitJobChanged:
    return TransmitJobChanged(
        job_id=row["id"],
        destination=row["destination"],
        state=row["state"],
        attempt=row["attempts"],
        reason=row["reason"],
    )


def _one_of_each(results: Sequence[Result]) -> list[list[Result]]:
    """Return groups that hold no instance twice; an earlier result is in an earlier group."""
    groups: list[dict[tuple[str, str], Result]] = []
    for result in results:
        key = result.job_id, result.sop_instance_uid
        group = next((one for one in groups if key not in one), None)
        if group is None:
            groups.append(group := {})
        group[key] = result
    return [list(group.values()) for group in groups]


def _instance_state(result: Result) -> str:
    match result.outcome.verdict:
        case Verdict.SENT | Verdict.WARNED:
            return "SENT"
        case Verdict.FAILED:
            return "FAILED"
        case Verdict.RETRY | Verdict.SUSPECT:
            return "PENDING"
