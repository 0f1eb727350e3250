"""How replication is put together, and what it does for as long as the service runs."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final, Self

from darkroom_common.errors import ConfigurationError, DependencyUnavailable
from darkroom_common.objects.store import ObjectStore, open_store
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Database
from darkroom_common.seal import Seal
from darkroom_common.telemetry.logs import get_logger
from darkroom_metadata.conflicts.repository import Resolutions
from darkroom_metadata.editing.repository import Edits
from darkroom_metadata.removal.repository import Removals
from darkroom_metadata.replication import due
from darkroom_metadata.replication.arriving import Arriving
from darkroom_metadata.replication.carrying_out import CarryingOut
from darkroom_metadata.replication.journal import Journal
from darkroom_metadata.replication.said import Words
from darkroom_metadata.replication.sending import Sending
from darkroom_metadata.replication.taking import Taking
from darkroom_metadata.replication.telling import Telling
from darkroom_metadata.settings import MetadataSettings
from darkroom_metadata.verification.judgement import Pace
from darkroom_metadata.verification.verification import Brake

log = get_logger(__name__)
_AWAY_SECONDS: Final = 10.0


@dataclass
class Replicating:
    """What of it is switched on.

    Attributes:
        second: the second store, if there is one.
        peer: that of another site, if there is one.
    """

    database: Database
    second: ObjectStore | None
    peer: ObjectStore | None
    sending: Sending | None
    taking: Taking | None

    @classmethod
    def of(
        cls, settings: MetadataSettings, database: Database, store: ObjectStore, outbox: Outbox
    ) -> Self:
        """Put it together.

        Raises:
            ConfigurationError: a URL is none of a store, or two that have to differ are the same.
        """
        given = [settings.store_url, settings.replication_url, settings.replication_peer_url]
        stores = [url for url in given if url]
        if len(set(stores)) < len(stores):
            raise ConfigurationError(
                "STORE_URL, REPLICATION_URL and REPLICATION_PEER_URL are of different stores"
            )
        if settings.replication_peer_url and settings.replication_site == settings.replication_peer:
            raise ConfigurationError("REPLICATION_SITE and REPLICATION_PEER are different names")
        if len(stores) == 1:
            return cls(database, None, None, None, None)
        own = Seal(PhiKeys.parse(settings.phi_keys.get_secret_value()))
        brake = Brake(Pace(settings.replication_bytes_per_second))
        second, sending = None, None
        if settings.replication_url:
            second = open_store(settings.replication_url, setting="REPLICATION_URL")
            journal = Journal(second, seal_of(settings), settings.replication_site)
            sending = Sending(
                database,
                store,
                journal,
                Telling(own),
                brake,
                settings.replication_journal_days,
                follows=bool(settings.replication_peer_url),
            )
        peer, taking = None, None
        if settings.replication_peer_url:
            peer = open_store(settings.replication_peer_url, setting="REPLICATION_PEER_URL")
            taking = Taking(
                database,
                Journal(peer, seal_of(settings), settings.replication_peer),
                Arriving(peer, store, brake),
                _carrying_out(settings, own, outbox),
                own,
                outbox,
            )
        return cls(database, second, peer, sending, taking)

    @property
    def copies(self) -> tuple[ObjectStore, ...]:
        """The stores that may have good copies of objects."""
        return tuple(store for store in (self.second, self.peer) if store is not None)

    async def run(self) -> None:
        """Do what is switched on for ever; cancel to stop."""
        parts: list[Awaitable[None]] = [
            self._send_nothing() if self.sending is None else self.sending.run()
        ]
        if self.taking is not None:
            parts.append(self.taking.run())
        await asyncio.gather(*parts)

    async def _send_nothing(self) -> None:
        while True:  # nobody sends what would be kept
            try:
                async with self.database.acquire() as db:
                    await due.switch_off(db)
                break
            except DependencyUnavailable as error:
                log.warning("replication.waits", reason=str(error))
                await asyncio.sleep(_AWAY_SECONDS)
        await asyncio.Event().wait()


def _carrying_out(settings: MetadataSettings, own: Seal, outbox: Outbox) -> CarryingOut:
    keys = PhiKeys.parse(settings.phi_keys.get_secret_value())
    words = Words(keys, own, settings.replication_site)
    return CarryingOut(words, own, Edits(outbox), Removals(outbox), Resolutions(outbox))


def seal_of(settings: MetadataSettings) -> Seal:
    """Return what seals what sites tell each other."""
    keys = settings.replication_keys or settings.phi_keys
    return Seal(PhiKeys.parse(keys.get_secret_value()))
