"""What the DICOM port serves of the worklist: its query, and performed procedure steps."""

import asyncio
from collections.abc import Iterator
from typing import Final

import asyncpg

from darkroom_common.dimse.serving import Service
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.postgres.migrate import IncompatibleSchema, require_compatible
from darkroom_common.postgres.outbox import Outbox, Publisher
from darkroom_common.postgres.pool import Database
from darkroom_common.seal import Seal
from darkroom_common.telemetry.logs import get_logger
from darkroom_ingest.answering.archive import Archive
from darkroom_ingest.senders.repository import SCHEMA
from darkroom_ingest.senders.roster import Doorkeeper
from darkroom_ingest.settings import IngestSettings
from darkroom_ingest.worklist.entries import Entries
from darkroom_ingest.worklist.find import listing
from darkroom_ingest.worklist.performed import PerformedSteps
from darkroom_ingest.worklist.steps import performing

log = get_logger(__name__)
RETRY_SECONDS: Final = 15.0


def scheduling(
    settings: IngestSettings, archive: Archive, doorkeeper: Doorkeeper
) -> Iterator[Service]:
    """Yield the services, which work in the loop of the archive."""
    seal = Seal(archive.keys)
    entries = Entries(archive.database, seal, archive.blind)
    yield listing(settings, archive, doorkeeper, entries)
    steps = PerformedSteps(archive.database, entries, seal, Outbox(SCHEMA))
    yield performing(archive, doorkeeper, steps)


async def tell_of_steps(database: Database, publisher: Publisher) -> None:
    """Publish what the steps have committed, for ever; receiving never depends on it."""
    while True:
        try:
            await require_compatible(database, schema=SCHEMA, package="darkroom_ingest")
            await Outbox(SCHEMA).run(database, publisher)
        except (DependencyUnavailable, IncompatibleSchema, asyncpg.PostgresError) as error:
            log.warning("performed_step.not_told", reason=type(error).__name__)
        await asyncio.sleep(RETRY_SECONDS)
