"""What other nodes ask commitment for, in PostgreSQL: a job of telling them, each transaction once.

A transaction is a node's own: another node may use the same UID. What was found is written once,
and told as it was written however often it has to be told.
"""

from dataclasses import dataclass
from typing import Final

from darkroom_common.dimse.users.commitment import failures
from darkroom_common.jobs.attempt import Attempt, Ending
from darkroom_common.jobs.kind import JobKind, Phases, Row
from darkroom_common.jobs.table import JobTable
from darkroom_common.messages.base import Reply, Request, new_message_id
from darkroom_common.messages.requests import FollowCommitment, TakeCommitment
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.telemetry import traces
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
HOLD_SECONDS: Final = 15.0
"""In which whoever serves the association that has asked tells it there."""
PHASES: Final = Phases(
    waiting="PENDING",
    working=("WORKING",),
    retrying="RETRYING",
    ended_well=("REPORTED",),
    failed="FAILED",
)
_ADD: Final = (
    "INSERT INTO transmit.asked_commitment (id, transaction_uid, calling_ae_title,"
    " called_ae_title, sop_class_uids, sop_instance_uids, traceparent)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING *"
)
_FIND: Final = (
    "SELECT * FROM transmit.asked_commitment"
    " WHERE calling_ae_title = $1 AND transaction_uid = $2 FOR UPDATE"
)
_AGAIN: Final = (
    "UPDATE transmit.asked_commitment SET state = CASE WHEN finished_at IS NULL THEN state"
    " ELSE 'PENDING' END, held = true, tries = 0, reason = '', finished_at = NULL,"
    " wait_seconds = $3, next_at = now() + make_interval(secs => $3), updated_at = now()"
    " WHERE calling_ae_title = $1 AND transaction_uid = $2 RETURNING *"
)
_HOLD: Final = (
    "UPDATE transmit.asked_commitment SET wait_seconds = $3,"
    " next_at = now() + make_interval(secs => $3), updated_at = now()"
    " WHERE calling_ae_title = $1 AND transaction_uid = $2"
    " AND state = 'PENDING' AND reasons IS NOT NULL RETURNING *"
)
_LET_GO: Final = (
    "UPDATE transmit.asked_commitment SET held = false, wait_seconds = 0, next_at = now(),"
    " updated_at = now() WHERE calling_ae_title = $1 AND transaction_uid = $2"
    " AND finished_at IS NULL RETURNING *"
)
_TOLD: Final = (
    "UPDATE transmit.asked_commitment SET state = 'REPORTED', reason = '', lease_owner = '',"
    " lease_until = NULL, finished_at = now(), updated_at = now()"
    " WHERE calling_ae_title = $1 AND transaction_uid = $2"
    " AND finished_at IS NULL RETURNING *"
)
_FOUND: Final = (
    "UPDATE transmit.asked_commitment SET reasons = $2 WHERE id = $1 AND reasons IS NULL"
    " RETURNING held"
)


@dataclass(eq=False)
class AskedJob(Attempt):
    """A transaction of another node that is looked at, or told."""

    @property
    def references(self) -> dict[str, str]:
        """SOP class by SOP instance UID."""
        return dict(zip(self.row["sop_instance_uids"], self.row["sop_class_uids"], strict=True))

    @property
    def failed(self) -> dict[str, int]:
        """What is not kept, and why."""
        return failures(self.row["sop_instance_uids"], self.row["reasons"])


class AskedCommitments:
    """Writes the table `asked_commitment`."""

    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self.kind = JobKind(
            name="asked-commitment",
            table="transmit.asked_commitment",
            lane="calling_ae_title",
            phases=PHASES,
            attempt=AskedJob,
        )
        self.table = JobTable(self.kind, outbox)

    async def answer(self, message: Request) -> Reply | None:
        """Answer a request that is about this; None to any other."""
        match message:
            case TakeCommitment():
                return await self.take(message)
            case FollowCommitment():
                return await self.follow(message)
            case _:
                return None

    async def take(self, asked: TakeCommitment) -> Reply:
        """Keep a request; the same one again is told again, another of its UID is a conflict."""
        key = asked.calling_ae_title, asked.transaction_uid
        classes, uids = list(asked.sop_class_uids), list(asked.sop_instance_uids)
        async with self._database.transaction() as db:
            row: Row | None = await db.fetchrow(
                _ADD,
                new_message_id(),
                asked.transaction_uid,
                asked.calling_ae_title,
                asked.called_ae_title,
                classes,
                uids,
                traces.inject().get("traceparent", ""),
            )
            if row is None:
                known = await db.fetchrow(_FIND, *key)
                if known is None:  # removed at this very moment
                    return Reply(outcome="unavailable", reason="try again")
                if _content(known["sop_instance_uids"], known["sop_class_uids"]) != _content(
                    uids, classes
                ):
                    return Reply(outcome="conflict", reason="the transaction has other instances")
                hold = 0.0 if known["reasons"] is None else HOLD_SECONDS
                row = await db.fetchrow(_AGAIN, *key, hold)
            if row is not None:
                await self.table.entered(db, row)
        log.info(
            "commitment.taken",
            ae=asked.calling_ae_title,
            transaction=asked.transaction_uid,
            instances=len(uids),
        )
        return Reply(outcome="done")

    async def follow(self, asked: FollowCommitment) -> Reply:
        """Tell what was found, or take what came of telling it."""
        key = asked.calling_ae_title, asked.transaction_uid
        if asked.step == "look":
            async with self._database.transaction() as db:
                row = await db.fetchrow(_HOLD, *key, HOLD_SECONDS)
            if row is None:
                return Reply(outcome="done")
            failed = failures(row["sop_instance_uids"], row["reasons"])
            return Reply(outcome="done", body={"failed": failed})
        async with self._database.transaction() as db:
            row = await db.fetchrow(_TOLD if asked.step == "told" else _LET_GO, *key)
            if row is not None:
                await self.table.entered(db, row)
        return Reply(outcome="done")

    @staticmethod
    async def found(db: Connection, job: AskedJob, reasons: list[int]) -> Ending:
        """Keep what was found; it is told on the association that has asked, while that is open."""
        held = await db.fetchval(_FOUND, job.id, reasons)
        return Ending(PHASES.waiting, wait=HOLD_SECONDS if held else 0.0, remembered=False)


def _content(uids: list[str], classes: list[str]) -> frozenset[tuple[str, str]]:
    return frozenset(zip(uids, classes, strict=True))
