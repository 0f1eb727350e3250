"""Studies are deleted, restored and purged; retention and legal hold stand in the way."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from darkroom_common.jobs.lease import Claims
from darkroom_common.messages.base import new_message_id
from darkroom_common.messages.commands import DeleteStudy, RemoveStudy
from darkroom_common.messages.events import StudyRemoved
from darkroom_common.objects.store import FileSystemStore
from darkroom_common.specs.retention import Retention, RetentionRule
from darkroom_metadata.removal.intake import RemovalCommands
from darkroom_metadata.removal.removing import NotDeletable, Remover
from darkroom_metadata.removal.repository import Removals
from darkroom_metadata.tiering.jobs import TierJobs
from tests.integration.metadata.resolving import House, house
from tests.integration.metadata.test_indexer import KEYS
from tests.support.builders import a_data_set
from tests.support.services import prepare_database

OLD, NEW = "20100101", "20260101"


@dataclass
class Archive:
    """An index whose studies are deleted."""

    house: House
    commands: RemovalCommands

    @property
    def remover(self) -> Remover:
        return self.commands.remover

    async def ask(self, action: Any, uid: str) -> tuple[str, str]:
        asked = RemoveStudy(job_id=new_message_id(), action=action, study_instance_uid=uid)
        await self.commands.handle(asked)
        claims = self.remover.claims
        while (attempt := await claims.claim()) is not None:
            await claims.finish(attempt, await self.remover.attempt(attempt))
        (row,) = await self.rows("SELECT * FROM index.removal WHERE id = $1", asked.job_id)
        return row["state"], row["reason"]

    async def rows(self, sql: str, *values: object) -> list[Any]:
        return await self.house.bench.prepared.fetch(sql, *values)

    async def hold(self, uid: str) -> None:
        await self.rows("INSERT INTO api.legal_hold VALUES ($1, 'x', now(), '', 'x')", uid)

    async def purge(self) -> None:
        """Purge as if the time had come."""
        await self.rows(
            "UPDATE index.removal SET purge_after = now() - interval '1 s',"
            " finished_at = now() + interval '1 s' WHERE purge_after IS NOT NULL"
        )
        while await self.remover.purge_one():
            pass

    async def told(self) -> list[StudyRemoved]:
        """What waits for the audit log, in the table that the removal's transaction wrote."""
        sql = "SELECT body FROM index.outbox WHERE type = $1 ORDER BY id"
        rows = await self.rows(sql, StudyRemoved.TYPE)
        return [StudyRemoved.from_body(row["body"]) for row in rows]

    def objects(self) -> int:
        return len(list(self.house.bench.directory.rglob("*.dcm")))


@pytest.fixture
async def archive(superuser_url: str, tmp_path: Path) -> AsyncIterator[Archive]:
    async with house(superuser_url, tmp_path) as made:
        await prepare_database(superuser_url, "api")
        indexer = made.bench.indexer
        rules = (
            RetentionRule(modality="MG", years=30),
            RetentionRule(calling_ae_title="TEST*", years=0),
        )
        removals = Removals(indexer.outbox)
        remover = Remover(
            Claims(removals.table, indexer.database, new_message_id(), 20.0),
            FileSystemStore(made.bench.directory),
            indexer.outbox,
            Retention(7, rules),
            timedelta(days=30),
            KEYS,
        )
        yield Archive(made, RemovalCommands(remover, removals, TierJobs(indexer.outbox)))


@pytest.mark.req("STO-04")
async def test_retention_and_hold_stand_in_the_way(archive: Archive) -> None:
    old, new = a_data_set(StudyDate=OLD), a_data_set(StudyDate=NEW)
    mammography = a_data_set(StudyDate=OLD, Modality="MG")
    held = a_data_set(StudyDate=OLD)
    await archive.house.received(old, new, mammography, held)
    await archive.hold(held.StudyInstanceUID)
    assert await archive.ask("delete", old.StudyInstanceUID) == ("DONE", "")
    for kept, why in ((new, "until 2033"), (mammography, "until 2040"), (held, "legal hold")):
        state, reason = await archive.ask("delete", kept.StudyInstanceUID)
        assert (state, why in reason) == ("FAILED", True), reason
        asked = DeleteStudy(study_instance_uid=kept.StudyInstanceUID)
        with pytest.raises(NotDeletable):
            async with archive.remover.database.transaction() as db:
                await archive.remover.told_to_delete(db, asked)
    assert len(await archive.house.found()) == 3
    assert await archive.ask("delete", "1.2.3") == ("FAILED", "there is no such study")


@pytest.mark.req("STO-04")
async def test_a_deleted_study_can_be_restored_until_it_is_purged(archive: Archive) -> None:
    one, other = a_data_set(StudyDate=OLD), a_data_set(StudyDate=OLD, PatientID="O")
    await archive.house.received(one, other)
    uid = one.StudyInstanceUID
    await archive.ask("delete", uid)
    assert len(await archive.house.found()) == 1
    assert await archive.ask("restore", uid) == ("DONE", "")
    await archive.purge()
    assert len(await archive.house.found()) == 2
    await archive.ask("delete", uid)
    await archive.hold(uid)
    await archive.purge()
    assert archive.objects() == 2
    await archive.rows("DELETE FROM api.legal_hold")
    await archive.purge()
    assert archive.objects() == 1
    (gone,) = await archive.told()
    assert (gone.study_instance_uid, gone.how, gone.objects) == (uid, "purged", 1)
    assert len(await archive.rows("SELECT FROM index.study")) == 1
    assert len(await archive.rows("SELECT FROM index.patient")) == 1
    state, reason = await archive.ask("restore", uid)
    assert (state, reason) == ("FAILED", "there is no such deleted study")
    await archive.house.require_agreement()
    await archive.house.received(one)  # sent again, it is there again
    assert len(await archive.house.found()) == 2


async def test_what_comes_again_is_not_purged(archive: Archive) -> None:
    one = a_data_set(StudyDate=OLD)
    await archive.house.received(one)
    await archive.ask("delete", one.StudyInstanceUID)
    await archive.house.received(one)
    await archive.purge()
    assert archive.objects() == 1
    assert len(await archive.house.found()) == 1
