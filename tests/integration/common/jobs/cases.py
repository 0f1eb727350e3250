"""Every kind of job, as the conformance suite needs it: its table, and how a row comes into it."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg

from darkroom_api.bulk.repository import BulkJobs
from darkroom_api.callbacks.repository import Deliveries
from darkroom_api.exports.repository import Exports
from darkroom_api.mail.repository import Mail
from darkroom_common.jobs.attempt import Ending
from darkroom_common.jobs.lease import Claims
from darkroom_common.jobs.table import JobTable
from darkroom_common.messages.base import new_message_id
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.seal import Seal
from darkroom_common.specs.destinations import Backoff
from darkroom_common.telemetry.metrics import common as metrics
from darkroom_print.printing.repository import PrintJobs
from darkroom_transmit.commitment.repository import CommitmentJobs
from darkroom_transmit.retrieval.prefetch import prefetch_kind
from darkroom_transmit.retrieval.repository import RetrieveJobs
from darkroom_transmit.sending.repository import SendJobs

LEASE: Final = 20.0
BACKOFF: Final = Backoff(initial_seconds=30, multiplier=2, ceiling_seconds=600, max_attempts=3)
TRACE: Final = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
_SEND: Final = (
    "INSERT INTO transmit.job (id, destination, priority, traceparent, total)"
    " VALUES ($1, $2, 'medium', $3, 1)"
)
_DESTINATION: Final = (
    "WITH known AS (INSERT INTO transmit.destination (name, spec) VALUES ($2, '{}')"
    " ON CONFLICT DO NOTHING) "
)
_RETRIEVE: Final = (
    f"{_DESTINATION}INSERT INTO transmit.retrieve"
    " (id, remote, method, study_instance_uid, traceparent)"
    " VALUES ($1, $2, 'move', '1.2', $3)"
)
_PREFETCH: Final = (
    f"{_DESTINATION}INSERT INTO transmit.prefetch"
    " (rule, study_instance_uid, remote, spec, traceparent)"
    " VALUES ('all', $1, $2, '{}', $3)"
)
_COMMITMENT: Final = (
    f"{_DESTINATION}INSERT INTO transmit.job (id, destination, priority, traceparent,"
    " state, commitment, finished_at) VALUES ($1, $2, 'medium', $3, 'SENT', 'wanted', now())"
)
_PRINT: Final = (
    "INSERT INTO print.job (id, printer, layout, sop_instance_uids, copies, traceparent)"
    " VALUES ($1, $2, 'single', '{1.2}', 1, $3)"
)

_EXPORT: Final = (
    "INSERT INTO api.export (id, format, traceparent, user_id, requested_by, columns, filters,"
    " fingerprint) VALUES ($1, $2, $3, gen_random_uuid(), 'x', '{exam_id}', '', '')"
)
_BULK: Final = (
    "INSERT INTO api.bulk_change (id, what, traceparent, user_id, requested_by, sealed, total,"
    " fingerprint) VALUES ($1, $2, $3, gen_random_uuid(), 'x', '', 1, '')"
)
_MAIL: Final = (
    "INSERT INTO api.mail (id, template, traceparent, recipient, sealed)"
    " VALUES ($1, $2, $3, 'a@b.example', '')"
)
_CALLBACK: Final = (
    "WITH known AS (INSERT INTO api.callback (name, spec) VALUES ($2,"
    """ '{"url": "https://ris.example/", "events": ["*"]}')"""
    " ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id),"
    " told AS (INSERT INTO api.event (id, type, at, data) VALUES ($1, 'x', now(), '{}')"
    " RETURNING number)"
    " INSERT INTO api.callback_delivery (id, callback, traceparent, callback_id, event, event_id,"
    " type) SELECT $1, $2, $3, known.id, told.number, $1, 'x' FROM known, told"
)
SEAL: Final = Seal(PhiKeys(1, {1: base64.b64encode(bytes(32)).decode()}))


@dataclass(frozen=True)
class Case:
    """A kind: whose login writes it, its table and the statement that adds a job to a lane."""

    role: str
    table: Callable[[Outbox], JobTable[Any]]
    add: str
    prefix: str = ""


CASES: Final = {
    "send": Case("transmit", lambda outbox: SendJobs(outbox).table, _SEND),
    "retrieve": Case("transmit", lambda outbox: RetrieveJobs(outbox).table, _RETRIEVE),
    "prefetch": Case(
        "transmit", lambda outbox: JobTable(prefetch_kind(), outbox), _PREFETCH, "all/"
    ),
    "commitment": Case(
        "transmit", lambda outbox: CommitmentJobs(outbox, SendJobs(outbox)).table, _COMMITMENT
    ),
    "export": Case("api", lambda outbox: Exports(outbox, 1000).table, _EXPORT),
    "bulk": Case("api", lambda outbox: BulkJobs(outbox, SEAL).table, _BULK),
    "mail": Case("api", lambda outbox: Mail(outbox, SEAL, enabled=True).table, _MAIL),
    "callback": Case(
        "api",
        lambda outbox: Deliveries(outbox, SEAL, Mail(outbox, SEAL, enabled=False)).table,
        _CALLBACK,
    ),
    "print": Case("print", lambda outbox: PrintJobs(outbox).table, _PRINT),
}


@dataclass
class TestClock:
    """A clock that a test moves."""

    __test__ = False
    seconds: float = 1000.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class House:
    """A kind at work: a lane of its own, processes that claim, and a look at the rows."""

    case: Case
    table: JobTable[Any]
    database: Database
    lane: str = field(default_factory=new_message_id)
    clock: TestClock = field(default_factory=TestClock)

    @property
    def well(self) -> str:
        return self.table.kind.phases.ended_well[0]

    def process(self, owner: str = "") -> Claims[Any]:
        """Return what a further process has in hand."""
        name = owner or new_message_id()
        return Claims(self.table, self.database, name, LEASE, self.lane, self.clock)

    def final(self) -> Ending:
        return Ending(self.well)

    async def add(self) -> str:
        name = new_message_id()
        async with self.database.acquire() as db:
            await db.execute(self.case.add, name, self.lane, TRACE)
        return self.case.prefix + name

    async def row(self, job: str) -> asyncpg.Record:
        async with self.database.acquire() as db:
            row = await db.fetchrow(f"SELECT * FROM {self.table.kind.table} WHERE id = $1", job)
        assert row is not None
        return row

    async def state(self, job: str) -> str:
        return str((await self.row(job))[self.table.kind.state])

    async def put(self, job: str, changes: str) -> None:
        async with self.database.acquire() as db:
            await db.execute(f"UPDATE {self.table.kind.table} SET {changes} WHERE id = $1", job)

    async def shift(self, job: str, hours: int) -> None:
        """Have the row be as if the wall clock had been set back (or forward, with hours < 0)."""
        by = f"make_interval(hours => {hours})"
        await self.put(job, f"next_at = next_at + {by}, lease_until = lease_until + {by}")

    async def events(self, job: str) -> list[tuple[str, str]]:
        """Return the state and the trace of each event of a job."""
        async with self.database.acquire() as db:
            rows = await db.fetch(
                f"SELECT body, headers FROM {self.table.kind.schema}.outbox ORDER BY id"
            )
        found = [(json.loads(row["body"]), json.loads(row["headers"])) for row in rows]
        return [
            (body["state"], headers.get("traceparent", ""))
            for body, headers in found
            if body["job_id"] == job
        ]

    def counted(self, state: str) -> float:
        return float(metrics.JOBS.labels(self.table.kind.name, self.lane, state)._value.get())


async def act(house: House, job: str, action: Any) -> Any:
    async with house.database.transaction() as db:
        return await house.table.act(db, job, action, by="tester")


async def changes(db: Connection, schema: str, job: str) -> list[str]:
    if await db.fetchval("SELECT to_regclass($1)", f"{schema}.change") is None:
        return []  # no operator acts on a job of this schema
    rows = await db.fetch(f"SELECT action FROM {schema}.change WHERE name = $1 ORDER BY id", job)
    return [row["action"] for row in rows]
