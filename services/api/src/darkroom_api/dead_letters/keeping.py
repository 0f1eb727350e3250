"""Takes dead letters from RabbitMQ into `api.dead_letter`, and puts back what is to be replayed.

A letter leaves its queue when its row is committed, and its row says REPLAYED when the broker has
it on disk again under the same message id: whatever is cut between is done again, and consumers
know a message that comes twice.
"""

import asyncio
import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from darkroom_common.amqp.broker import BrokerUnavailable, Unroutable
from darkroom_common.amqp.dead import DeadLetter
from darkroom_common.amqp.rabbitmq import RabbitBroker
from darkroom_common.clock import utc_now
from darkroom_common.errors import TransientError
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import api as metrics
from darkroom_common.topology import WORK_QUEUES

log = get_logger(__name__)
POLL_SECONDS: Final = 5.0
"""For what a command or another replica has asked to replay."""
LAST_DELAY: Final = 15.0
BATCH: Final = 50
ENDED_LIFETIME: Final = dt.timedelta(days=30)
_TEXT_LENGTH: Final = 512
_ADD: Final = """
    INSERT INTO api.dead_letter
        (queue, message_id, type, reason, attempts, died_at, trace, body, fingerprint)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9
    WHERE NOT $10 OR NOT EXISTS (SELECT FROM api.dead_letter WHERE fingerprint = $9)
"""
_NEXT: Final = """
    SELECT id, queue, message_id, type, reason, attempts, trace, body FROM api.dead_letter
    WHERE state = 'REPLAYING' AND NOT id = ANY($2::uuid[])
    ORDER BY changed_at LIMIT $1 FOR UPDATE SKIP LOCKED
"""
_REPLAYED: Final = """
    UPDATE api.dead_letter SET state = 'REPLAYED', body = NULL, version = version + 1,
        changed_at = now() WHERE id = ANY($1::uuid[])
"""
_HELD: Final = (
    "SELECT queue, count(*) AS held,"
    " extract(epoch FROM now() - min(died_at))::double precision AS age"
    " FROM api.dead_letter WHERE state = 'HELD' GROUP BY queue"
)
_FORGET: Final = (
    "DELETE FROM api.dead_letter WHERE state IN ('REPLAYED', 'DISCARDED')"
    " AND changed_at < now() - $1::interval"
)


@dataclass
class DeadLetters:
    """What goes on with dead letters beside the requests of operators.

    Attributes:
        database: with the rows.
        broker: with the queues.
    """

    database: Database
    broker: RabbitBroker
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Say that something is to be replayed."""
        self._wake.set()

    async def collect(self) -> None:
        """Take what is in the queues, for ever; cancel to stop."""
        await self.broker.collect_dead(WORK_QUEUES, self.keep)

    async def keep(self, letters: Sequence[DeadLetter]) -> None:
        """Keep letters; one that has come before is kept once.

        Raises:
            DependencyUnavailable: the database is away.
        """
        async with self.database.transaction() as db:
            for letter in letters:
                await _add(db, letter)
        for letter in letters:
            log.warning("dead_letter.kept", queue=letter.queue, reason=letter.reason)

    async def run(self) -> None:
        """Replay what operators have asked for, for ever; cancel to stop."""
        delay = 0.5
        while True:
            self._wake.clear()
            try:
                await self._count()
                await self.replay()
            except TransientError as error:
                log.warning("dead_letters.wait", reason=str(error))
                await asyncio.sleep(delay)
                delay = min(delay * 2, LAST_DELAY)
                continue
            delay = 0.5
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wake.wait()

    async def replay(self) -> None:
        """Put back all that is to be replayed.

        Raises:
            DependencyUnavailable: the database or the broker is away; nothing is lost.
        """
        homeless: list[Any] = []
        while await self._replay_some(homeless):
            pass

    async def _replay_some(self, homeless: list[Any]) -> int:
        """Put some back; return how many were looked at. The homeless are passed over."""
        done: list[Any] = []
        failed: BrokerUnavailable | None = None
        async with self.database.transaction() as db:
            rows = await db.fetch(_NEXT, BATCH, homeless)
            for row in rows:
                try:
                    await self.broker.put_back(_letter(row))
                except Unroutable as error:  # its service has never run here: it waits for that
                    log.warning("dead_letter.homeless", queue=row["queue"], reason=str(error))
                    homeless.append(row["id"])
                except BrokerUnavailable as error:
                    failed = error
                    break
                else:
                    done.append(row["id"])
            await db.execute(_REPLAYED, done)
        if failed is not None:
            raise failed
        return len(rows)

    async def _count(self) -> None:
        async with self.database.acquire() as db:
            held = {row["queue"]: row for row in await db.fetch(_HELD)}
        for queue in WORK_QUEUES:
            row = held.get(queue.name)
            metrics.DEAD_LETTERS.labels(queue.name).set(row["held"] if row else 0)
            metrics.DEAD_LETTERS_OLDEST.labels(queue.name).set(max(0, row["age"]) if row else 0)

    async def forget_ended(self) -> None:
        """Drop the rows of letters that were dealt with long ago."""
        async with self.database.acquire() as db:
            await db.execute(_FORGET, ENDED_LIFETIME)


async def _add(db: Connection, letter: DeadLetter) -> None:
    same = hashlib.sha256()
    for part in (letter.queue, letter.message_id, letter.died_at, letter.reason):
        same.update(part.encode("utf-8", "replace") + b"\x00")
    same.update(letter.body)
    await db.execute(
        _ADD,
        letter.queue,
        _text(letter.message_id),
        _text(letter.type),
        _text(letter.reason),
        min(letter.attempts, 2**31 - 1),
        _moment(letter.died_at),
        json.dumps({name: _text(value) for name, value in letter.trace.items()}),
        letter.body,
        same.digest(),
        letter.came_before,
    )


def _letter(row: Any) -> DeadLetter:
    return DeadLetter(
        queue=row["queue"],
        message_id=row["message_id"],
        type=row["type"],
        body=row["body"],
        reason=row["reason"],
        attempts=row["attempts"],
        died_at="",
        trace=json.loads(row["trace"]),
    )


def _text(text: str) -> str:
    storable = text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
    return storable[:_TEXT_LENGTH]


def _moment(text: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return utc_now()
    return moment if moment.tzinfo else utc_now()
