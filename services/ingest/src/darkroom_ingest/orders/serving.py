"""What ingest opens for orders: the port of MLLP, the directory, the tidying of the worklist."""

import asyncio
import socket
from collections.abc import Coroutine, Iterator
from datetime import timedelta
from typing import Any, Final

import asyncpg

from darkroom_common.dimse.tls import TlsServer
from darkroom_common.errors import ConfigurationError, DependencyUnavailable
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.telemetry.logs import get_logger
from darkroom_ingest.orders.drop import Drop
from darkroom_ingest.orders.listener import Bounds, OrderPort
from darkroom_ingest.orders.orders import Orders
from darkroom_ingest.senders.repository import SCHEMA
from darkroom_ingest.settings import IngestSettings
from darkroom_ingest.worklist.entries import Entries
from darkroom_ingest.worklist.telling import tell_untold

log = get_logger(__name__)
TIDY_SECONDS: Final = 3600.0
_TAKEN_DAYS: Final = 30
"""For which it is known what was taken: nobody sends a message again after that."""
_FORGET: Final = (  # taken_oldest
    "DELETE FROM ingest.taken WHERE key IN (SELECT key FROM ingest.taken"
    " WHERE taken_at < now() - $1::interval ORDER BY taken_at LIMIT 1000) RETURNING true"
)
_OLD: Final = (  # worklist_scheduled
    "DELETE FROM ingest.worklist WHERE id IN (SELECT id FROM ingest.worklist"
    " WHERE scheduled_at < now() - $1::interval AND updated_at < now() - $1::interval"
    " ORDER BY scheduled_at LIMIT 1000) RETURNING true"
)


def taking_orders(
    settings: IngestSettings,
    entries: Entries | None,
    listener: socket.socket | None,
    tls: TlsServer | None,
) -> Iterator[Coroutine[Any, Any, None]]:
    """Yield the endless works that take orders, and the one that tidies what they leave.

    Raises:
        ConfigurationError: there is something to take them, but no key for the worklist.
    """
    if entries is None:
        if listener is not None or settings.worklist_directory is not None:
            raise ConfigurationError(
                "HL7_PORT and WORKLIST_DIRECTORY need PHI_KEYS and BLIND_INDEX_KEY"
            )
        return
    orders = Orders(entries.database, entries, Outbox(SCHEMA))
    assumed = settings.hl7_character_set
    yield tidy(entries, settings.worklist_days)
    if settings.worklist_directory is not None:
        settings.worklist_directory.mkdir(parents=True, exist_ok=True)
        yield Drop(settings.worklist_directory, orders, settings.hl7_bytes, assumed).run()
    if listener is not None:
        bounds = Bounds(
            peers=settings.hl7_peers,
            connections=settings.hl7_connections,
            per_host=settings.hl7_connections_per_host,
            most=settings.hl7_bytes,
            message_seconds=settings.hl7_message_seconds,
            idle_seconds=settings.hl7_idle_seconds,
        )
        context = tls.lasting_context() if tls is not None and settings.hl7_tls else None
        yield OrderPort(orders, bounds, assumed, context).run(listener)


async def tidy(entries: Entries, days: int) -> None:
    """Remove entries that are long past, and what is known of old messages, for ever.

    What is not told yet is told first.
    """
    while True:
        try:
            await tell_all(entries)
            await tidy_once(entries, days)
        except (DependencyUnavailable, asyncpg.PostgresError) as error:
            log.warning("worklist.not_tidied", reason=type(error).__name__)
        await asyncio.sleep(TIDY_SECONDS)


async def tell_all(entries: Entries) -> int:
    """Tell the index of orders that an earlier release has kept; return how many."""
    told = 0
    while True:
        async with entries.database.transaction() as db:
            await entries.alone(db)
            some = await tell_untold(db)
        told += some
        if not some:
            return told


async def tidy_once(entries: Entries, days: int) -> int:
    """Remove them now, a thousand in a transaction; return how many entries have gone.

    Args:
        entries: of the worklist.
        days: since the start and since the last change of an entry; 0: it stays for ever.
    """
    while True:
        async with entries.database.transaction() as db:
            if not await db.fetch(_FORGET, timedelta(days=_TAKEN_DAYS)):
                break
    removed = 0
    while days:
        async with entries.database.transaction() as db:
            gone = await db.fetch(_OLD, timedelta(days=days))
        removed += len(gone)
        if not gone:
            break
    if removed:
        log.info("worklist.tidied", entries=removed)
    return removed
