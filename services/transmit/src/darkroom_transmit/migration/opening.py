"""Opens what migrations come from, and has some of it come first."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from darkroom_common.dimse.tls import TlsClient
from darkroom_common.messages.base import Reply
from darkroom_common.postgres.pool import Database
from darkroom_common.seal import Seal
from darkroom_common.specs.remote import FILES, FirstOrder, MigrationSpec
from darkroom_transmit.migration.dimse_source import DimseSource
from darkroom_transmit.migration.file_source import FileSource
from darkroom_transmit.migration.files import below
from darkroom_transmit.migration.repository import PHASES
from darkroom_transmit.migration.source import Archive, Found
from darkroom_transmit.migration.studies import Studies
from darkroom_transmit.migration.taking import Taker
from darkroom_transmit.migration.web_source import WebSource, open_client
from darkroom_transmit.remote.remotes import Remotes
from darkroom_transmit.retrieval.dimse import Handle
from darkroom_transmit.retrieval.retrievals import Receiver, calling_for
from darkroom_transmit.sending.throttle import Throttle

_FIND: Final = "SELECT spec, state FROM transmit.migration WHERE id = $1"


@dataclass(frozen=True)
class Sources:
    """Opens what migrations come from.

    Attributes:
        root: below which files may be read; None: none may.
    """

    remotes: Remotes
    receiver: Receiver
    tls: TlsClient
    root: Path | None

    @contextlib.asynccontextmanager
    async def archive(self, spec: MigrationSpec, slow: Throttle) -> AsyncIterator[Archive]:
        """Lend an archive that answers questions.

        Raises:
            NotThere, Unreadable, PeerFault: there is no destination that can be asked.
        """
        destination = await self.remotes.named(spec.lane)
        taker = self._taker(calling_for(destination), slow)
        if spec.way == "web":
            client = open_client(destination, self.tls)
            try:
                yield WebSource(client, destination, taker)
            finally:
                await asyncio.to_thread(client.close)
            return
        yield DimseSource(
            self.remotes.peer(destination),
            self.receiver.silence,
            self.receiver.ae_title if spec.way == "move" else "",
            taker,
        )

    def files(self, spec: MigrationSpec, slow: Throttle) -> FileSource:
        """Return the files of a directory.

        Raises:
            BadDirectory: it may not be read, or cannot.
            PeerFault: certificates cannot be used.
        """
        top = below(self.root, spec.directory)
        return FileSource(top, self._taker(spec.calling_ae_title, slow))

    def _taker(self, calling: str, slow: Throttle) -> Callable[[Handle], Taker]:
        ingest = self.receiver.ingest(calling)
        free = Throttle(None)
        return lambda handle: Taker(
            ingest, throttle=free if handle.hurried else slow, handle=handle
        )


@dataclass(frozen=True)
class Bringing:
    """Has studies of a migration come before all else.

    Attributes:
        in_thread: does what blocks.
    """

    database: Database
    sources: Sources
    seal: Seal
    in_thread: Callable[[Callable[[], Any]], Awaitable[Any]]

    async def first(self, migration: str, order: FirstOrder, by: str) -> Reply:
        """Do it, and answer how many studies they are.

        Raises:
            PeerFault: the source cannot be asked for a patient.
        """
        async with self.database.acquire() as db:
            row = await db.fetchrow(_FIND, migration)
        if row is None:
            return Reply(outcome="not-found", reason="there is no such job")
        if row["state"] in PHASES.over:
            reason = f"a job that is {row['state']} brings nothing any more"
            return Reply(outcome="conflict", reason=reason, body={"state": row["state"]})
        studies = Studies(migration, self.seal)
        found = await self._meant(studies, MigrationSpec.model_validate_json(row["spec"]), order)
        async with self.database.transaction() as db:
            await studies.add(db, found, by=by or "-")
        return Reply(outcome="done", body={"studies": len(found), "state": row["state"]})

    async def _meant(self, studies: Studies, spec: MigrationSpec, order: FirstOrder) -> list[Found]:
        if spec.way in FILES:
            async with self.database.acquire() as db:
                return await studies.known(db, order)
        if not order.patient_id:
            return [Found(uid) for uid in order.studies]
        async with self.sources.archive(spec, Throttle(None)) as archive:
            found: list[Found] = await self.in_thread(lambda: archive.of_patient(order.patient_id))
        return found
