"""Bulk changes in PostgreSQL, a kind of the job engine: how far each is, and what has failed."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from darkroom_api.bulk.changes import What
from darkroom_api.studies.examinations import Failed, Outcome
from darkroom_common.jobs.attempt import Attempt
from darkroom_common.jobs.kind import JobKind, Phases, Row, told
from darkroom_common.jobs.table import JobTable
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection
from darkroom_common.seal import Seal
from darkroom_common.telemetry import traces

PHASES: Final = Phases(
    waiting="PENDING",
    working=("PROCESSING",),
    retrying="RETRYING",
    ended_well=("COMPLETED",),
    failed="FAILED",
    cancelled="CANCELLED",
)
PURPOSE: Final = "bulk change"
TOLD: Final = 1000
"""Failed items of a job that are told."""
_ADD: Final = (
    "INSERT INTO api.bulk_change (id, user_id, requested_by, what, sealed, total,"
    " idempotency_key, fingerprint, traceparent)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
    " ON CONFLICT (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING"
    " RETURNING *"
)
_GONE_ON: Final = (
    "UPDATE api.bulk_change SET gone_through = gone_through + $2, done = done + $3,"
    " changed = changed + $4, failed = failed + $5,"
    " errors = CASE WHEN failed < $7 AND $6::text IS NOT NULL THEN errors || $6::text"
    "  ELSE errors END, updated_at = now() WHERE id = $1 RETURNING gone_through"
)
LIST: Final = (
    "SELECT id AS job_id, what, state, reason, total, gone_through, done, failed, errors,"
    " requested_by, created_at, finished_at FROM api.bulk_change WHERE user_id = $1"
)
_FIND: Final = LIST + " AND id = $2"
_CHANGED: Final = "SELECT changed FROM api.bulk_change WHERE id = $1"


@dataclass(frozen=True)
class NewBulk:
    """What is asked for. `sealed` is the change; `key` and `fingerprint` are of the request."""

    user_id: uuid.UUID
    requested_by: str
    what: What
    sealed: str
    total: int
    key: bytes | None
    fingerprint: bytes


class BulkJobs:
    """Writes the table `bulk_change`."""

    def __init__(self, outbox: Outbox, seal: Seal) -> None:
        self._seal = seal
        self.kind = JobKind(
            name="bulk",
            table="api.bulk_change",
            lane="what",
            event=told("bulk", "what"),
            phases=PHASES,
            attempt=Attempt,
        )
        self.table: JobTable[Attempt] = JobTable(self.kind, outbox)

    async def add(self, db: Connection, job: str, new: NewBulk) -> Row | None:
        """Add a change; None when the key of the request is taken."""
        row: Row | None = await db.fetchrow(
            _ADD,
            job,
            new.user_id,
            new.requested_by,
            new.what,
            new.sealed,
            new.total,
            new.key,
            new.fingerprint,
            traces.inject().get("traceparent", ""),
        )
        if row is not None:
            await self.table.entered(db, row)
        return row

    async def gone_on(self, db: Connection, job: str, some: int, outcome: Outcome) -> int:
        """Keep what has become of some more; return how many were gone through."""
        errors = None
        if outcome.failed:
            told = [[one.exam_id, one.code, one.message] for one in outcome.failed]
            errors = self._seal.seal(orjson.loads(orjson.dumps(told)), purpose=PURPOSE)
        gone: int = await db.fetchval(
            _GONE_ON,
            job,
            some,
            len(outcome.done),
            len(outcome.changed),
            len(outcome.failed),
            errors,
            TOLD,
        )
        return gone

    def errors(self, sealed: Sequence[str]) -> list[Failed]:
        """Return the failed items that are told.

        Raises:
            Unsealable: see there.
        """
        found = [Failed(*one) for some in sealed for one in self._seal.open(some, purpose=PURPOSE)]
        return found[:TOLD]


async def find(db: Connection, user_id: uuid.UUID, job: str) -> Row | None:
    """Return a change of somebody, as it is shown."""
    row: Row | None = await db.fetchrow(_FIND, user_id, job)
    return row


async def changed_by(db: Connection, job: str) -> Any:
    """Return how many examinations a change has changed."""
    return await db.fetchval(_CHANGED, job)
