"""Exports in PostgreSQL, a kind of the job engine: what the engine does not know of them.

A row stays until its file is gone for certain: one that somebody deletes is CANCELLED, and goes
when no process can be at work at it any more.
"""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from darkroom_api.exports.formats import Format
from darkroom_common.jobs.attempt import Attempt
from darkroom_common.jobs.kind import JobKind, Phases, Row, told
from darkroom_common.jobs.table import JobTable
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection
from darkroom_common.telemetry import traces

PHASES: Final = Phases(
    waiting="PENDING",
    working=("PROCESSING",),
    retrying="RETRYING",
    ended_well=("COMPLETED",),
    failed="FAILED",
    cancelled="CANCELLED",
)
LIFETIME: Final = dt.timedelta(hours=24)
"""Of a file."""
REMEMBERED: Final = dt.timedelta(days=7)
"""How long it is told that there was a file."""
_SETTLED: Final = dt.timedelta(minutes=2)
"""After which nobody is at work at what was deleted: a lease that is lost ends the work at once."""
_ADD: Final = (
    "INSERT INTO api.export (id, user_id, requested_by, format, columns, filters, shared,"
    " idempotency_key, fingerprint, traceparent)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
    " ON CONFLICT (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING"
    " RETURNING *"
)
_SHOWN: Final = (
    "SELECT id AS job_id, user_id, requested_by, format, columns, shared, state, reason, done,"
    " total, size, expires_at, created_at, finished_at FROM api.export WHERE state <> 'CANCELLED'"
)
_FIND: Final = _SHOWN + " AND id = $1"
LIST: Final = _SHOWN + " AND (user_id = $1 OR shared AND $2)"
"""What somebody sees; $2: what others share, too."""
_AHEAD: Final = (  # export_due
    "SELECT count(*) FROM api.export WHERE state IN ('PENDING', 'PROCESSING', 'RETRYING')"
    " AND (created_at, id) < ($1, $2)"
)
_CANCEL: Final = (  # what is at work at it learns so when it renews its lease
    "UPDATE api.export SET state = 'CANCELLED', lease_owner = '', updated_at = now(),"
    " idempotency_key = NULL,"
    " finished_at = CASE WHEN state = 'PROCESSING' THEN now()"
    "  ELSE now() - $3::interval END"
    " WHERE id = $1 AND user_id = $2 AND state <> 'CANCELLED' RETURNING *"
)
_TO_REMOVE: Final = (  # export_file
    "SELECT id, state FROM api.export WHERE finished_at IS NOT NULL AND removed_at IS NULL"
    " AND CASE state WHEN 'COMPLETED' THEN expires_at <= now()"
    "  ELSE finished_at <= now() - $1::interval END"
    " ORDER BY finished_at LIMIT 1 FOR UPDATE SKIP LOCKED"
)
_REMOVED: Final = "UPDATE api.export SET removed_at = now() WHERE id = $1"
_FORGET: Final = (
    "DELETE FROM api.export WHERE removed_at IS NOT NULL"
    " AND (state = 'CANCELLED' OR removed_at < now() - $1::interval)"
)


@dataclass(eq=False)
class Export(Attempt):
    """An export that is made here; `done` of `total` studies are written."""

    done: int = 0
    total: int | None = None

    def progress(self) -> dict[str, Any]:
        """Return how far it is."""
        return {"done": self.done, "total": self.total}


@dataclass(frozen=True)
class NewExport:
    """What is asked for. `filters` is sealed; `key` and `fingerprint` are those of the request."""

    user_id: uuid.UUID
    requested_by: str
    format: Format
    columns: Sequence[str]
    filters: str
    shared: bool
    key: bytes | None
    fingerprint: bytes


class Exports:
    """Writes the table `export`; so many are made at once, over all replicas."""

    def __init__(self, outbox: Outbox, at_once: int) -> None:
        self.kind = JobKind(
            name="export",
            table="api.export",
            lane="format",
            event=told("export", "format"),
            phases=PHASES,
            attempt=Export,
            most=at_once,
            progress={"done": "bigint", "total": "bigint"},
        )
        self.table = JobTable(self.kind, outbox)

    async def add(self, db: Connection, job: str, new: NewExport) -> Row | None:
        """Add an export; None when the key of the request is taken."""
        row: Row | None = await db.fetchrow(
            _ADD,
            job,
            new.user_id,
            new.requested_by,
            new.format,
            list(new.columns),
            new.filters,
            new.shared,
            new.key,
            new.fingerprint,
            traces.inject().get("traceparent", ""),
        )
        if row is not None:
            await self.table.entered(db, row)
        return row

    async def cancel(self, db: Connection, job: str, owner: uuid.UUID) -> Row | None:
        """Delete an export of somebody; None when there is none. Its file goes soon."""
        row: Row | None = await db.fetchrow(_CANCEL, job, owner, _SETTLED)
        if row is not None:
            await self.table.entered(db, row)
        return row


async def find(db: Connection, job: str) -> Row | None:
    """Return an export as it is shown."""
    row: Row | None = await db.fetchrow(_FIND, job)
    return row


async def ahead_of(db: Connection, created_at: dt.datetime, job: str) -> int:
    """Return how many exports come before one that waits."""
    count: int = await db.fetchval(_AHEAD, created_at, job)
    return count


async def one_to_remove(db: Connection) -> Row | None:
    """Lock and return an export whose file is to go: it is too old, failed or was deleted."""
    row: Row | None = await db.fetchrow(_TO_REMOVE, _SETTLED)
    return row


async def removed(db: Connection, job: str) -> None:
    """Keep that a file is gone."""
    await db.execute(_REMOVED, job)


async def forget(db: Connection) -> None:
    """Remove the rows of files that went long ago."""
    await db.execute(_FORGET, REMEMBERED)
