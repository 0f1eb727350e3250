"""The life of a study, from the first instance to its deletion, and back."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.errors import PermanentError
from darkroom_common.jobs.lease import Claims
from darkroom_common.messages.base import Message
from darkroom_common.messages.commands import ChangeStudyStatus, DeleteStudy
from darkroom_common.messages.registry import decode
from darkroom_common.objects.store import FileSystemStore
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.specs.retention import Retention
from darkroom_metadata.removal.removing import Remover
from darkroom_metadata.removal.repository import Removals
from darkroom_metadata.studies.changes import Studies
from darkroom_metadata.studies.lifecycle import Lifecycle
from darkroom_metadata.verification.judgement import Check, Pace
from darkroom_metadata.verification.ledger import Ledger
from darkroom_metadata.verification.verification import Brake, Contents
from tests.integration.metadata.test_indexer import KEYS, Bench, indexing
from tests.support.builders import a_data_set, new_uid
from tests.support.database import Prepared


class Life(Bench):
    """One study with all that changes its state."""

    uid = ""

    async def receive(self, *data_sets: Dataset) -> None:
        await self.index(*(self.stored(one) for one in data_sets))
        self.uid = str(data_sets[0].StudyInstanceUID)

    async def quiet(self) -> None:
        outbox = Outbox("index")
        await Lifecycle(self.indexer.database, outbox, timedelta(0)).complete_quiet()

    async def read_back(self) -> None:
        ledger = Ledger(Outbox("index"))
        contents = Contents(FileSystemStore(self.directory), ledger, Brake(Pace(0), SYSTEM_CLOCK))
        async with self.indexer.database.acquire() as db:
            run = await ledger.open(db, Check.CONTENTS, "all", age=timedelta(0))
            while not run.finished:
                run, _ = await contents.advance(db, run)

    async def command(self, message: Message) -> None:
        database, outbox = self.indexer.database, Outbox("index")
        claims = Claims(Removals(outbox).table, database, "test", 20.0)
        store, nothing = FileSystemStore(self.directory), Retention(0)
        remover = Remover(claims, store, outbox, nothing, timedelta(days=1), KEYS)
        await Studies(database, outbox, remover.told_to_delete).handle(message)

    async def ask(self, status: str) -> None:
        await self.command(
            ChangeStudyStatus.model_validate({"study_instance_uid": self.uid, "status": status})
        )

    async def status(self) -> str:
        sql = "SELECT status FROM index.study WHERE study_instance_uid = $1"
        return str((await self.prepared.fetch(sql, self.uid))[0][0])

    async def changes(self) -> list[tuple[str, str]]:
        rows = await self.prepared.fetch("SELECT type, body FROM index.outbox ORDER BY id")
        events = [decode(row["type"], row["body"]) for row in rows]
        return [(e.old, e.new) for e in events if e.TYPE == "dicom.study.status_changed.v1"]  # type: ignore[attr-defined]


@pytest.fixture
async def life(superuser_url: str, tmp_path: Path) -> AsyncIterator[Life]:
    prepared = await Prepared.make(superuser_url, "metadata")
    async with indexing(prepared, tmp_path) as bench:
        made = Life(bench.prepared, bench.indexer, tmp_path)
        yield made


def images(number: int) -> list[Dataset]:
    study = new_uid()
    return [a_data_set(StudyInstanceUID=study) for _ in range(number)]


@pytest.mark.req("MET-04")
async def test_a_whole_life(life: Life) -> None:
    first, second, third = images(3)
    await life.receive(first, second)
    assert await life.status() == "receiving"
    await life.quiet()
    assert await life.status() == "complete"
    await life.read_back()
    assert await life.status() == "verified"
    await life.ask("archived")
    assert await life.status() == "archived"
    await life.receive(third)
    assert await life.status() == "receiving"
    await life.quiet()
    await life.command(DeleteStudy(study_instance_uid=life.uid, requested_by="someone"))
    assert await life.status() == "deleted"
    assert await life.changes() == [
        ("complete", "verified"),
        ("verified", "archived"),
        ("archived", "receiving"),
        ("complete", "deleted"),
    ]


@pytest.mark.req("MET-04", "MET-06")
async def test_a_command_is_about_all_patients_of_a_study_uid(life: Life) -> None:
    first, other = images(2)
    other.PatientID = "OTHER"
    await life.receive(first)
    await life.quiet()
    await life.receive(other)  # the one is complete, the other is being received
    await life.command(DeleteStudy(study_instance_uid=life.uid))
    rows = await life.prepared.fetch("SELECT status FROM index.study ORDER BY id")
    assert [row["status"] for row in rows] == ["deleted", "deleted"]
    assert sorted(await life.changes()) == [("complete", "deleted"), ("receiving", "deleted")]


@pytest.mark.req("MET-04")
async def test_what_comes_again_after_a_deletion_is_there_again(life: Life) -> None:
    (image,) = images(1)
    await life.receive(image)
    await life.command(DeleteStudy(study_instance_uid=life.uid))
    assert await life.status() == "deleted"
    await life.receive(image)
    assert await life.status() == "receiving"
    assert await life.changes() == [("receiving", "deleted"), ("deleted", "receiving")]


async def test_damage_takes_verified_back_and_repair_gives_it_again(life: Life) -> None:
    one, other = images(2)
    await life.receive(one, other)
    await life.quiet()
    await life.read_back()
    (broken, *_) = sorted(life.directory.glob("*.dcm"))
    content = broken.read_bytes()
    broken.write_bytes(content[:-1] + bytes((content[-1] ^ 1,)))
    await life.read_back()
    assert await life.status() == "complete"
    broken.write_bytes(content)
    await life.read_back()
    assert await life.status() == "verified"


async def test_a_study_that_is_partly_read_back_is_not_verified(life: Life) -> None:
    study = images(2)
    await life.receive(study[0])
    await life.quiet()
    await life.read_back()
    await life.receive(study[1])
    await life.quiet()
    assert await life.status() == "complete"


async def test_a_command_takes_effect_once_and_only_where_it_may(life: Life) -> None:
    await life.receive(*images(1))
    with pytest.raises(PermanentError, match="receiving cannot become archived"):
        await life.ask("archived")
    await life.quiet()
    with pytest.raises(PermanentError, match="no such study"):
        await life.command(DeleteStudy(study_instance_uid="1.2.3"))
    delete = DeleteStudy(study_instance_uid=life.uid)
    await life.command(delete)
    await life.ask("complete")  # deletion taken back
    await life.command(delete)  # delivered again
    assert await life.status() == "complete"
    await life.ask("complete")
    assert await life.changes() == [("complete", "deleted"), ("deleted", "complete")]
