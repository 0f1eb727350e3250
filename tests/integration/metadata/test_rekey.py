"""Keys are changed while the index is written and read."""

import asyncio
import base64
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from darkroom_common import rekeying
from darkroom_common.errors import ConfigurationError
from darkroom_common.index.fields import Level
from darkroom_common.index.query import Query, by_keyword, conditions
from darkroom_common.index.reader import IndexReader
from darkroom_common.index.rows import UnreadableRow
from darkroom_common.objects.store import FileSystemStore
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Database
from darkroom_common.rekeying import Encrypted, Rekeying, StillWritten, Tell
from darkroom_metadata.indexing.indexer import Indexer
from darkroom_metadata.indexing.repository import IndexRepository
from darkroom_metadata.indexing.rows import RowWriter
from darkroom_metadata.rekey import COLUMNS
from tests.integration.metadata.test_indexer import BLIND, Bench
from tests.support.builders import a_data_set, new_uid
from tests.support.database import Prepared
from tests.support.headers import reading_here

ONE, TWO = (base64.b64encode(letter * 32).decode() for letter in (b"1", b"2"))
OLD = PhiKeys(1, {1: ONE})
BOTH = PhiKeys(2, {1: ONE, 2: TWO})
NEW = PhiKeys(2, {2: TWO})
ENCRYPTED = [one for one in COLUMNS if isinstance(one, Encrypted)]


@pytest.fixture
async def prepared(superuser_url: str) -> Prepared:
    return await Prepared.make(superuser_url, "metadata")


@asynccontextmanager
async def indexing(prepared: Prepared, store: Path, keys: PhiKeys) -> AsyncIterator[Bench]:
    with ThreadPoolExecutor(2) as executor:
        async with prepared.login("metadata") as database:
            repository = IndexRepository(RowWriter(keys))
            indexer = Indexer(
                database,
                reading_here(FileSystemStore(store), BLIND, executor),
                repository,
                Outbox("index"),
            )
            yield Bench(prepared, indexer, store)


def rekeyed(database: Database, keys: PhiKeys, tell: Tell = lambda _: None) -> Rekeying:
    return Rekeying(database, "index", COLUMNS, keys, 0, tell)


async def add(bench: Bench, number: int) -> None:
    study = new_uid()
    for some in range(number):
        one = a_data_set(StudyInstanceUID=study, PatientID=f"P{some}", PatientName="Plan^Ted")
        await bench.index(bench.stored(one))


async def found(database: Database, keys: PhiKeys) -> int:
    name = conditions(by_keyword("PatientName"), "Plan*")
    query = Query(Level.INSTANCE, conditions=name, include_all=True, limit=1000)
    page = await IndexReader(database, keys=keys, blind=BLIND).search(query)
    return len(page.results)


async def keys_in_use(prepared: Prepared) -> set[int]:
    union = " UNION ".join(f"SELECT phi_key FROM index.{one.table}" for one in ENCRYPTED)
    rows = await prepared.fetch(union)
    return {row["phi_key"] for row in rows} - {None}  # a conflict may have no header of its own


@pytest.mark.req("MET-02")
async def test_the_key_changes_under_load(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rekeying, "BATCH", 7)
    told: list[dict[str, Any]] = []
    async with (
        indexing(prepared, tmp_path, OLD) as old,
        indexing(prepared, tmp_path, BOTH) as new,
        prepared.login("metadata") as database,
        prepared.login("api") as readers,
    ):
        await add(old, 60)
        work = rekeyed(database, BOTH, told.append)
        running = asyncio.create_task(work.run())
        writing = asyncio.create_task(add(new, 40))
        seen = [await found(readers, BOTH)]
        while not (running.done() and writing.done()):
            seen.append(await found(readers, BOTH))
            assert seen[-1] >= seen[-2] >= 60
        await writing
        assert await running >= 60
        assert await keys_in_use(prepared) == {2}
        assert await found(readers, NEW) == 100
        with pytest.raises(UnreadableRow):
            await found(readers, OLD)
    tables = [line["table"] for line in told if line["event"] == "progress"]
    assert set(tables) == {"patient", "study", "series", "instance"}
    assert [line["done"] for line in told if line.get("table") == "instance"][-1] >= 60
    assert told[-1]["event"] == "summary"


async def test_an_interrupted_run_is_gone_on_with(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rekeying, "BATCH", 5)

    class Interrupted(Exception):
        """Stands for whatever ends a process."""

    def interrupt(line: dict[str, Any]) -> None:
        if line.get("done", 0) >= 10:
            raise Interrupted

    async with (
        indexing(prepared, tmp_path, OLD) as old,
        prepared.login("metadata") as database,
        prepared.login("api") as readers,
    ):
        await add(old, 30)
        with pytest.raises(Interrupted):
            await rekeyed(database, BOTH, interrupt).run()
        assert await keys_in_use(prepared) == {1, 2}
        assert await found(readers, BOTH) == 30
        await rekeyed(database, BOTH).run()
        assert await rekeyed(database, BOTH).run() == 0
        assert await keys_in_use(prepared) == {2}
        assert await found(readers, NEW) == 30


async def test_a_key_that_is_missing_is_named(prepared: Prepared, tmp_path: Path) -> None:
    async with indexing(prepared, tmp_path, OLD) as old, prepared.login("metadata") as database:
        await add(old, 1)
        with pytest.raises(ConfigurationError, match="encrypted with: 1"):
            await rekeyed(database, NEW).run()


async def test_a_writer_that_keeps_the_old_key_is_told(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rekeying, "PASSES", 1)
    async with indexing(prepared, tmp_path, OLD) as old, prepared.login("metadata") as database:
        await add(old, 1)
        with pytest.raises(StillWritten, match="every service"):
            await rekeyed(database, BOTH).run()
