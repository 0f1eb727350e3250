"""Deliveries in PostgreSQL, a kind of the job engine: one for each event and callback.

Rows are locked in one order: the delivery's, the log's lock (`events.log.alone`), the callback's.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from darkroom_api.callbacks.calling import GONE, Answer
from darkroom_api.callbacks.spec import CALLBACKS, CallbackSpec
from darkroom_api.events import log
from darkroom_api.events.catalogue import Told, as_json
from darkroom_api.mail.repository import Mail
from darkroom_common.clock import utc_now
from darkroom_common.jobs.attempt import Attempt, Ending
from darkroom_common.jobs.kind import JobKind, Phases
from darkroom_common.jobs.table import JobTable
from darkroom_common.messages.base import new_message_id
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection
from darkroom_common.resources.stored import read_spec
from darkroom_common.seal import Seal, Unsealable
from darkroom_common.telemetry.logs import get_logger

logger = get_logger(__name__)

PHASES: Final = Phases(
    waiting="PENDING",
    working=("DELIVERING",),
    retrying="RETRYING",
    ended_well=("DELIVERED",),
    failed="FAILED",
    cancelled="CANCELLED",
)
PURPOSE: Final = CALLBACKS.secret_purpose
_REPLAYED: Final = (*PHASES.ended_well, PHASES.failed, PHASES.cancelled, PHASES.retrying)
_WANTED: Final = (  # who is told of what: what is changed meanwhile is in force for the next
    "SELECT e.number, e.id AS event_id, e.type, e.traceparent, c.name, c.id AS callback_id"
    " FROM unnest($1::bigint[]) AS given (number) JOIN api.event e USING (number)"
    " JOIN api.callback c ON CASE WHEN e.callback_id = '' THEN"
    "   c.disabled_at IS NULL AND (c.spec->>'enabled')::boolean"
    "   AND (c.spec->'events' ? e.type OR c.spec->'events' ? '*')"
    "  ELSE c.id = e.callback_id END"
    " ORDER BY e.number, c.name FOR SHARE OF c"
)
_ADD: Final = (
    "INSERT INTO api.callback_delivery"
    " (id, callback, callback_id, event, event_id, type, traceparent)"
    " SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[],"
    "  $6::text[], $7::text[])"
    " ON CONFLICT (callback_id, event) DO NOTHING RETURNING *"
)
_LOAD: Final = (
    "SELECT c.spec::text AS spec, c.secret, c.disabled_at,"
    " CASE WHEN c.former_until > now() THEN c.former_secret ELSE '' END AS former,"
    " e.at, e.data, e.callback_id <> '' AS test"
    " FROM api.callback c, api.event e WHERE c.id = $1 AND e.number = $2"
)
_ATTEMPTED: Final = (
    "INSERT INTO api.callback_attempt (delivery, number, seconds, status, reason)"
    " VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"
)
_MADE: Final = (
    "UPDATE api.callback SET failures = 0, delivered_at = now() WHERE id = $1"
    " AND (failures > 0 OR delivered_at IS NULL OR delivered_at < now() - interval '1 minute')"
)
_MISSED: Final = (
    "UPDATE api.callback SET failed_at = now() WHERE id = $1"
    " AND (failed_at IS NULL OR failed_at < now() - interval '1 minute')"
)
_FAILED: Final = (
    "UPDATE api.callback SET failed_at = now(), failures = failures + 1 WHERE id = $1"
    " RETURNING name, failures, disabled_at"
)
_DISABLE: Final = "UPDATE api.callback SET disabled_at = now(), disabled_reason = $2 WHERE id = $1"
_FORGET: Final = (  # those of callbacks that are gone
    "DELETE FROM api.callback_delivery d WHERE id IN (SELECT id FROM api.callback_delivery f"
    " WHERE NOT EXISTS (SELECT FROM api.callback c WHERE c.id = f.callback_id)"
    " AND lease_until IS NULL AND created_at < now() - $1::interval LIMIT 1000)"
)


@dataclass(eq=False)
class Sending(Attempt):
    """A delivery that is made here.

    Attributes:
        spec: of the callback.
        signing: its secrets, the newest first.
        at: when the event happened.
        data: of the event, JSON.
        test: whether it only tries the callback: once, whether that is in use or not.
        answer: what has become of it; None before.
    """

    spec: CallbackSpec | None = None
    signing: Sequence[str] = ()
    at: dt.datetime | None = None
    data: str = ""
    test: bool = False
    answer: Answer | None = None


class Deliveries:
    """Writes the table `callback_delivery`, and what it does to its callback.

    Args:
        outbox: of the service.
        seal: of the secrets.
        mail: tells operators of a callback that has failed too often.
        operators: their addresses.
    """

    def __init__(
        self, outbox: Outbox, seal: Seal, mail: Mail, operators: Sequence[str] = ()
    ) -> None:
        self._seal = seal
        self._mail = mail
        self._operators = operators
        self.kind: JobKind[Sending] = JobKind(
            name="callback",
            table="api.callback_delivery",
            lane="callback",
            phases=PHASES,
            attempt=Sending,
            change="delivery",
            actions={("retry", state): PHASES.waiting for state in _REPLAYED},
            claimed=self._claimed,
            finished=self._finished,
        )
        self.table: JobTable[Sending] = JobTable(self.kind, outbox)

    async def tell(self, db: Connection, events: Sequence[Told]) -> None:
        """Keep events in the transaction of the caller, and have them sent to whoever wants them.

        Those that are there already are left as they are.
        """
        await log.alone(db)
        new = await log.add(db, events)
        if new:
            await self.insert(db, await db.fetch(_WANTED, [row["number"] for row in new]))

    async def insert(self, db: Connection, wanted: Sequence[Any]) -> int:
        """Add deliveries that are not there; return how many."""
        if not wanted:
            return 0
        rows = await db.fetch(
            _ADD,
            [new_message_id() for _ in wanted],
            [row["name"] for row in wanted],
            [row["callback_id"] for row in wanted],
            [row["number"] for row in wanted],
            [row["event_id"] for row in wanted],
            [row["type"] for row in wanted],
            [row["traceparent"] for row in wanted],
        )
        for row in rows:
            await self.table.entered(db, row, {})
        return len(rows)

    async def _claimed(self, db: Connection, sending: Sending) -> Ending | None:
        row = await db.fetchrow(_LOAD, sending.row["callback_id"], sending.row["event"])
        if row is None:
            return Ending(PHASES.cancelled, "The callback was removed.")
        spec, unreadable = read_spec(CallbackSpec, row["spec"])
        if unreadable:
            fields = ", ".join(unreadable)
            return Ending(PHASES.cancelled, f"This version does not understand {fields} of it.")
        if not row["test"] and (row["disabled_at"] is not None or not spec.enabled):
            return Ending(PHASES.cancelled, "The callback is disabled.")
        try:
            sealed = [one for one in (row["secret"], row["former"]) if one]
            sending.signing = [str(self._seal.open(one, purpose=PURPOSE)) for one in sealed]
        except Unsealable:
            return Ending(PHASES.failed, "Its secret cannot be opened with PHI_KEYS.")
        sending.spec, sending.backoff = spec, spec.backoff
        sending.at, sending.data, sending.test = row["at"], row["data"], row["test"]
        return None

    async def _finished(self, db: Connection, sending: Sending, ending: Ending) -> None:
        """Keep the attempt, and what it says of the callback."""
        answer, callback = sending.answer, sending.row["callback_id"]
        if answer is not None:
            values = answer.seconds, answer.status, answer.reason
            await db.execute(_ATTEMPTED, sending.id, sending.number, *values)
        if ending.state == PHASES.ended_well[0]:
            await db.execute(_MADE, callback)
        elif ending.state == PHASES.retrying:
            await db.execute(_MISSED, callback)
        elif ending.state == PHASES.failed and not sending.test:
            await log.alone(db)
            await self._failed(db, sending, ending.reason)

    async def _failed(self, db: Connection, sending: Sending, reason: str) -> None:
        row = await db.fetchrow(_FAILED, sending.row["callback_id"])
        if row is None or row["disabled_at"] is not None or sending.spec is None:
            return
        gone = sending.answer is not None and sending.answer.status == GONE
        if gone or row["failures"] >= sending.spec.disable_after:
            await db.execute(_DISABLE, sending.row["callback_id"], reason)
            await self._tell_disabled(db, row["name"], reason)

    async def _tell_disabled(self, db: Connection, name: str, reason: str) -> None:
        logger.warning("callback.disabled", callback=name, reason=reason)
        values = {"callback": name, "reason": reason}
        event = Told(new_message_id(), "callback.disabled", utc_now(), as_json(values))
        await self.tell(db, [event])
        for address in self._operators:
            await self._mail.put(db, "callback_disabled", address, values)

    async def forget(self, db: Connection, older_than: dt.timedelta) -> int:
        """Remove some deliveries whose callback is gone; return how many."""
        tag = await db.execute(_FORGET, older_than)
        return int(tag.rpartition(" ")[2])
