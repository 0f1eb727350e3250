"""A year of nights over a small archive: exactly what the rules say goes, nothing under hold."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg

from darkroom_common.jobs.lease import Claims
from darkroom_common.objects.store import FileSystemStore
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import open_database
from darkroom_metadata.removal.intake import RemovalCommands
from darkroom_metadata.removal.removing import Remover
from darkroom_metadata.removal.repository import Removals
from darkroom_metadata.retention.judging import Judging
from darkroom_metadata.retention.runs import Runs, retention_jobs
from darkroom_metadata.tiering.jobs import TierJobs
from tests.integration.metadata.test_indexer import KEYS
from tests.support.retention_years import GRACE, RULES, Archive
from tests.support.services import prepare_database, role_url

STUDIES = 400


@asynccontextmanager
async def archive_of(superuser_url: str, store: Path) -> AsyncIterator[Archive]:
    """An empty archive with what retention needs of metadata."""
    outbox, owner = Outbox("index"), uuid4().hex
    removals = Removals(outbox)
    url = role_url(superuser_url, "darkroom_metadata")
    async with open_database(url, service="years", size=3) as database:
        admin = await asyncpg.connect(superuser_url)
        try:
            claims = Claims(removals.table, database, owner, 600.0)
            remover = Remover(
                claims, FileSystemStore(store), outbox, RULES, timedelta(days=GRACE), KEYS
            )
            nights = Claims(retention_jobs(outbox), database, owner, 600.0)
            runs = Runs(
                nights, Judging(KEYS, RULES), remover, is_on=True, hour=0, behind=lambda: False
            )
            archive = Archive(
                admin, KEYS, runs, RemovalCommands(remover, removals, TierJobs(outbox))
            )
            remover.clock = runs.clock = archive
            yield archive
        finally:
            await admin.close()


def require_exact(expected: dict[str, object], found: dict[str, object]) -> None:
    """Compare all studies, and tell the first that differ."""
    assert len(expected) == len(found)
    different = {uid: (one, found[uid]) for uid, one in expected.items() if one != found[uid]}
    assert not different, (len(different), list(different.items())[:5])


async def test_a_year_of_nights_does_what_the_rules_say(superuser_url: str, tmp_path: Path) -> None:
    await prepare_database(superuser_url, "metadata", "api")
    async with archive_of(superuser_url, tmp_path) as archive:
        await archive.fill(STUDIES)
        for _ in range(365):
            await archive.passes()
        expected = archive.expected()
        require_exact(dict(expected), dict(await archive.states()))
        counted = Counter(state for state, _, _ in expected.values())
        assert min(counted["purged"], counted["deleted"], counted["there"]) > 0
        assert any(marked > 1 for _, marked, _ in expected.values()) or counted["purged"] > 5
        held = [one for uid, one in archive.studies.items() if one.is_held(365)]
        assert all(expected[one.uid][0] != "purged" for one in held)
