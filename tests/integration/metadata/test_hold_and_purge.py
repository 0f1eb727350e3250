"""A legal hold and a deletion at the same moment: whichever comes first, the other waits for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from darkroom_common.index.retention.holds import begin_holding, name_of
from darkroom_common.index.retention.judged import is_stored
from darkroom_common.objects.store import FileSystemStore
from darkroom_common.postgres.pool import Connection
from darkroom_metadata.removal.removing import Marked
from tests.integration.metadata.test_removal import OLD, Archive, archive
from tests.support.builders import a_data_set
from tests.support.waiting import until

__all__ = ["archive"]
_WAITING = (
    "SELECT count(*) > 0 AS waits FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event = 'advisory'"
)
_PUT = {
    "study": "INSERT INTO api.legal_hold VALUES ($1, 'x', now(), '', 'x')",
    "patient": "INSERT INTO api.patient_hold (id, patient_key, by, owner, sealed)"
    " SELECT 'hold', patient_key, 'x', 'x', '' FROM index.patient WHERE $1::text IS NOT NULL",
}
WAYS = tuple(_PUT)


class Slow(FileSystemStore):
    """A store that is asked to remove an object, and takes its time."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def remove(self, key: str, *, untouched_since: datetime) -> bool:
        self.asked.set()
        await self.go.wait()
        return await super().remove(key, untouched_since=untouched_since)


async def deleted(archive: Archive) -> str:
    """Return the UID of a study that is deleted, and whose time has come."""
    one = a_data_set(StudyDate=OLD)
    await archive.house.received(one)
    uid = str(one.StudyInstanceUID)
    assert await archive.ask("delete", uid) == ("DONE", "")
    await archive.rows(
        "UPDATE index.removal SET purge_after = now() - interval '1 s',"
        " finished_at = now() + interval '1 s' WHERE purge_after IS NOT NULL RETURNING 1"
    )
    return uid


async def somebody_waits(archive: Archive) -> None:
    async def waits() -> bool:
        return bool((await archive.rows(_WAITING))[0]["waits"])

    await until(waits, "somebody waits for a lock")


async def name(archive: Archive, way: str, uid: str) -> str:
    """Return what is locked for a hold."""
    (row,) = await archive.rows("SELECT patient_key FROM index.patient")
    return uid if way == "study" else name_of(row["patient_key"])


@asynccontextmanager
async def holding(archive: Archive, way: str, uid: str) -> AsyncIterator[Connection]:
    """Be in the transaction that places a hold, as the api does; it is committed at the end."""
    locked = await name(archive, way, uid)
    async with archive.house.bench.prepared.login("api") as api, api.transaction() as db:
        await begin_holding(db, [locked])
        await db.execute(_PUT[way], uid)
        yield db


@pytest.mark.parametrize("way", WAYS)
async def test_a_purge_that_comes_while_a_hold_is_placed_waits_and_purges_nothing(
    archive: Archive, way: str
) -> None:
    uid = await deleted(archive)
    async with holding(archive, way, uid):
        purge = asyncio.create_task(archive.remover.purge_one())
        await somebody_waits(archive)
        assert not purge.done()
    assert await purge
    assert archive.objects() == 1
    assert await archive.told() == []
    (row,) = await archive.rows("SELECT purge_after > now() AS later, purged_at FROM index.removal")
    assert (row["later"], row["purged_at"]) == (True, None)


@pytest.mark.parametrize("way", WAYS)
async def test_a_hold_that_comes_while_a_purge_is_under_way_waits_and_finds_nothing(
    archive: Archive, way: str
) -> None:
    uid = await deleted(archive)
    store = Slow(archive.house.bench.directory)
    archive.remover.store = store
    locked = await name(archive, way, uid)
    seen: list[bool] = []

    async def hold() -> None:
        async with archive.house.bench.prepared.login("api") as api, api.transaction() as db:
            await begin_holding(db, [locked])
            seen.append(await is_stored(db, uid))

    purge = asyncio.create_task(archive.remover.purge_one())
    await store.asked.wait()
    held = asyncio.create_task(hold())
    await somebody_waits(archive)
    assert seen == [], "nobody is told that a study is held that is being purged"
    store.go.set()
    assert await purge
    await held
    assert seen == [False]
    assert archive.objects() == 0


@pytest.mark.parametrize("way", WAYS)
async def test_a_night_that_comes_while_a_hold_is_placed_waits_and_deletes_nothing(
    archive: Archive, way: str
) -> None:
    one = a_data_set(StudyDate=OLD)
    await archive.house.received(one)
    uid = str(one.StudyInstanceUID)
    await archive.rows("UPDATE index.study SET status = 'complete' RETURNING 1")

    async def night() -> Any:
        async with archive.remover.database.transaction() as db:
            return await archive.remover.mark(db, uid, by="retention")

    async with holding(archive, way, uid):
        marking = asyncio.create_task(night())
        await somebody_waits(archive)
    assert await marking is Marked.HELD
    assert len(await archive.house.found()) == 1
