"""What an earlier release has made of an object is put right, and nothing else is touched."""

import asyncio
import base64
import io
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO

import asyncpg
import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian

from darkroom_common.dicom.charset import Assumed
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.messages.events import StoredItem
from darkroom_metadata.indexing import filing, reading
from darkroom_metadata.indexing.reading import Header
from darkroom_metadata.reindexing import study as study_module
from darkroom_metadata.reindexing.command import Reindexing
from darkroom_metadata.reindexing.run import Busy, Scope
from darkroom_metadata.reindexing.study import StudyReindexer
from darkroom_metadata.verification.judgement import Pace
from darkroom_metadata.verification.verification import Brake
from tests.integration.metadata.test_headers import stored, written
from tests.integration.metadata.test_indexer import KEY, KEYS, Bench, indexing
from tests.support.builders import a_data_set, new_uid
from tests.support.database import Prepared
from tests.support.headers import header_in

Lines = list[dict[str, Any]]
ROWS = {
    "patient": "SELECT p.*, pgp_sym_decrypt(phi, $1) AS text FROM index.patient p ORDER BY id",
    "study": "SELECT s.*, pgp_sym_decrypt(phi, $1) AS text FROM index.study s ORDER BY id",
    "series": "SELECT e.*, pgp_sym_decrypt(phi, $1) AS text FROM index.series e ORDER BY id",
    "instance": "SELECT i.*, pgp_sym_decrypt(header, $1) AS text FROM index.instance i ORDER BY id",
}
VOLATILE = ("phi", "header", "version", "id", "patient_id", "created_at", "updated_at")
STAMPS = (*VOLATILE, "indexed_at", "last_instance_at", "study_id", "series_id")
BLIND_KEY = base64.b64encode(b"b" * 32).decode()
UP_TO_DATE = 3
"""Studies that were indexed right."""


class Archive:
    """An index of which some rows are as the earlier release has made them."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.lines: Lines = []

    async def object(self, syntax: Any, **attributes: Any) -> StoredItem:
        data_set = a_data_set(SpecificCharacterSet="ISO_IR 100", **attributes)
        event = await stored(self.bench, written(data_set, syntax))
        uids = {
            "study_instance_uid": str(data_set.StudyInstanceUID),
            "series_instance_uid": str(data_set.SeriesInstanceUID),
        }
        return event.model_copy(update=uids)

    async def fill(self, studies: int = 4) -> None:
        """Index some studies with objects of all kinds, and some in little endian alone."""
        for number in range(studies + UP_TO_DATE):
            study, series = new_uid(), new_uid()
            odd = (ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
            syntaxes = [ExplicitVRLittleEndian, *(odd if number < studies else ())]
            del syntaxes[: number == 0]  # of one study nothing is right
            if number % 2 == 0:  # the rows above are those of the first object
                syntaxes.reverse()
            given = {
                "StudyInstanceUID": study,
                "PatientID": f"P{number % 3}",
                "PatientName": f"Planted^{number % 3}",
            }
            for place, syntax in enumerate(syntaxes):
                uid = series if place else f"{series}.1"
                one = await self.object(syntax, **given, SeriesInstanceUID=uid, Rows=place + 2)
                await self.bench.index(one)

    async def rows(self, *, but: tuple[str, ...] = ("phi", "header")) -> dict[str, list[Any]]:
        return {
            name: [
                {key: value for key, value in row.items() if key not in but}
                for row in await self.bench.prepared.fetch(statement, KEY)
            ]
            for name, statement in ROWS.items()
        }

    async def meaning(self) -> dict[str, list[Any]]:
        """Return what rows say, without when and under which numbers they were written."""
        rows = await self.rows(but=STAMPS)
        rows["patient"].sort(key=lambda row: row["patient_key"])
        return rows

    def reindexing(self, pace: int = 0) -> Reindexing:
        indexer = self.bench.indexer
        studies = StudyReindexer(indexer.database, indexer.reading, KEYS, Brake(Pace(pace)))
        return Reindexing(indexer.database, studies, self.lines.append)


def one_attribute(event: StoredItem, file: BinaryIO, _: Assumed) -> Header:
    """Read a header as the earlier release did: the file was not rewound."""
    if event.transfer_syntax_uid != str(ExplicitVRLittleEndian):
        return Header({"00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}})
    file.seek(0)
    return Header(header_in(file.read()))


@pytest.fixture
async def archive(superuser_url: str, tmp_path: Path) -> AsyncIterator[Archive]:
    prepared = await Prepared.make(superuser_url, "metadata")
    root = tmp_path / "objects"
    root.mkdir()
    async with indexing(prepared, root) as bench:
        yield Archive(bench)


async def wrong(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Index as the earlier release did."""
    with monkeypatch.context() as earlier:
        earlier.setattr(reading, "ordinary_header", one_attribute)
        earlier.setattr(filing.KnownStudy, "disagrees", lambda *_, **__: ())
        await archive.fill()
    studies = await archive.bench.prepared.fetch("SELECT modalities FROM index.study")
    assert [] in [row["modalities"] for row in studies]


async def as_made_today(archive: Archive) -> dict[str, list[Any]]:
    """Return the rows that today's indexer makes of the same objects, in a database of its own."""
    rows = await archive.bench.prepared.fetch(
        "SELECT i.*, encode(i.sha256, 'hex') AS digest, e.series_instance_uid,"
        " s.study_instance_uid FROM index.instance i JOIN index.series e ON e.id = i.series_id"
        " JOIN index.study s ON s.id = e.study_id ORDER BY i.id"
    )
    tables = "index.inbox, index.outbox, index.conflict, index.instance, index.series"
    await archive.bench.prepared.fetch(f"TRUNCATE {tables}, index.study, index.patient CASCADE")
    for row in rows:
        known = {name: row[name] for name in StoredItem.model_fields if name in row}
        more = {"sha256": row["digest"], "called_ae_title": "DARKROOM", "flags": ()}
        await archive.bench.index(StoredItem(**known | more))
    return await archive.meaning()


@pytest.mark.req("MET-01")
async def test_wrong_rows_are_right_afterwards_and_others_as_they_were(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await wrong(archive, monkeypatch)
    before = await archive.rows()
    run = await archive.reindexing().run(Scope())
    assert (run.studies, run.instances, run.skipped) == (4, 11, 0)
    assert run.changed == 8
    after = await archive.rows()
    for table in ("study", "series", "instance"):
        right = {row["id"]: row for row in before[table][-UP_TO_DATE:]}
        assert right == {row["id"]: row for row in after[table] if row["id"] in right}
    little = str(ExplicitVRLittleEndian)
    for old, new in zip(before["instance"], after["instance"], strict=True):
        assert (old == new) is (old["transfer_syntax_uid"] == little)
    meaning = await archive.meaning()
    assert meaning == await as_made_today(archive)


async def test_what_is_right_is_written_by_no_second_run(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await wrong(archive, monkeypatch)
    await archive.reindexing().run(Scope(every=True))
    states = "SELECT ctid, xmin::text, * FROM index.{}"
    tables = ("patient", "study", "series", "instance")
    before = [await archive.bench.prepared.fetch(states.format(table)) for table in tables]
    for scope in (Scope(), Scope(every=True)):
        run = await archive.reindexing().run(scope)
        assert run.changed == 0
    after = [await archive.bench.prepared.fetch(states.format(table)) for table in tables]
    assert [set(map(tuple, rows)) for rows in map(hashable, before)] == [
        set(map(tuple, rows)) for rows in map(hashable, after)
    ]


def hashable(rows: list[asyncpg.Record]) -> list[list[str]]:
    return [[repr(value) for value in row] for row in rows]


async def test_one_study_alone(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    await wrong(archive, monkeypatch)
    before = await archive.rows()
    uid = before["study"][0]["study_instance_uid"]
    run = await archive.reindexing().run(Scope(study=uid))
    assert (run.studies, run.instances, run.changed) == (1, 2, 2)
    after = await archive.rows()
    assert before["study"][1:] == after["study"][1:]
    assert after["study"][0]["modalities"] == ["CT"]


async def test_counts_that_are_wrong_are_counted_again(archive: Archive) -> None:
    await archive.fill(1)
    right = await archive.meaning()
    await archive.bench.prepared.fetch(
        "UPDATE index.study SET instance_count = 99, byte_count = 1, modalities = '{XX}'"
    )
    await archive.bench.prepared.fetch("UPDATE index.series SET instance_count = 98")
    await archive.reindexing().run(Scope(every=True))
    assert await archive.meaning() == right


async def test_a_missing_object_keeps_its_row_and_is_told(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await wrong(archive, monkeypatch)
    before = await archive.rows()
    lost = before["instance"][0]
    (archive.bench.directory / lost["object_key"]).unlink()
    run = await archive.reindexing().run(Scope())
    assert run.skipped == 1
    assert {"event": "missing", "object_key": lost["object_key"]} in archive.lines
    assert (await archive.rows())["instance"][0] == lost


async def test_a_store_that_is_away_says_nothing_of_its_objects(archive: Archive) -> None:
    await archive.fill(1)
    archive.bench.directory.rename(archive.bench.directory.with_name("away"))
    archive.bench.directory.mkdir()
    before = await archive.rows()
    with pytest.raises(DependencyUnavailable, match="empty"):
        await archive.reindexing().run(Scope())
    assert await archive.rows() == before


async def test_objects_that_come_meanwhile_are_counted_once(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_module, "BATCH", 1)
    await wrong(archive, monkeypatch)
    (row, *_) = (await archive.rows())["study"]
    more = [
        await archive.object(
            syntax,
            StudyInstanceUID=row["study_instance_uid"],
            PatientID="P0",
            PatientName="Planted^0",
            Modality="MR",
        )
        for syntax in (ExplicitVRLittleEndian, ExplicitVRBigEndian) * 3
    ]
    await asyncio.gather(
        archive.reindexing().run(Scope()), *(archive.bench.index(one) for one in more)
    )
    (row, *_) = (await archive.rows())["study"]
    assert row["instance_count"] == 2 + len(more)
    assert row["modalities"] == ["CT", "MR"]
    meaning = await archive.meaning()
    for table in ("study", "series", "instance", "patient"):
        assert len(meaning[table]) == len((await archive.rows())[table])
    run = await archive.reindexing().run(Scope(every=True))
    assert run.changed == 0


async def test_two_runs_do_not_mix(archive: Archive) -> None:
    await archive.fill(1)
    begun = asyncio.Event()
    go_on = asyncio.Event()
    one = archive.reindexing()

    async def wait(_: float) -> None:
        begun.set()
        await go_on.wait()

    one.studies.brake.sleep = wait
    one.studies.brake.pace.rate = 1
    running = asyncio.create_task(one.run(Scope()))
    await begun.wait()
    with pytest.raises(Busy):
        await archive.reindexing().run(Scope())
    go_on.set()
    assert (await running).studies == 1


async def test_killed_in_the_middle_it_goes_on_behind_what_is_done(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await wrong(archive, monkeypatch)
    environment = {
        "PATH": "/usr/bin:/bin",
        "DARKROOM_POSTGRES_URL": archive.bench.prepared.url("metadata"),
        "DARKROOM_AMQP_URL": "amqp://nobody@127.0.0.1:1/",
        "DARKROOM_STORE_URL": archive.bench.directory.as_uri(),
        "DARKROOM_PHI_KEYS": json.dumps({"current": 1, "keys": {"1": KEY}}),
        "DARKROOM_BLIND_INDEX_KEY": BLIND_KEY,
    }

    async def command(*arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "darkroom_metadata", "reindex", "--json", *arguments),
            env=environment,
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
        )

    first = await command("--objects-per-second", "4")
    assert first.stdout is not None
    async for raw in first.stdout:
        if json.loads(raw)["event"] == "progress":
            break
    first.kill()
    await first.wait()
    second = await command("--objects-per-second", "0")
    output, _ = await second.communicate()
    lines = [json.loads(line) for line in output.splitlines()]
    assert second.returncode == 0, output
    assert lines[0]["event"] == "started"
    assert lines[0]["studies"] >= 1
    assert lines[0]["studies"] + lines[0]["studies_left"] == 4
    assert {name: lines[-1][name] for name in ("event", "studies", "instances", "skipped")} == {
        "event": "summary",
        "studies": 4,
        "instances": 11,
        "skipped": 0,
    }
    meaning = await archive.meaning()
    assert meaning == await as_made_today(archive)
    header = json.loads(meaning["instance"][0]["text"])
    content = (archive.bench.directory / meaning["instance"][0]["object_key"]).read_bytes()
    assert len(header) == len(dcmread(io.BytesIO(content), stop_before_pixels=True)) + 1


@pytest.mark.req("MET-06", "ING-15")
async def test_what_an_earlier_release_has_filed_together_is_parted_and_told(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = archive.bench
    shared = {"StudyInstanceUID": new_uid(), "SeriesInstanceUID": new_uid()}
    mixed = [
        a_data_set(**shared),
        a_data_set(**shared, PatientID="OTHER"),
        a_data_set(**shared, PatientID="OTHER"),
        a_data_set(**shared, Modality="MR"),
    ]
    with monkeypatch.context() as earlier:
        earlier.setattr(filing.KnownStudy, "disagrees", lambda *_, **__: ())
        earlier.setattr(filing, "alike", lambda *_: True)
        for one in mixed:
            await bench.index(bench.stored(one))
    assert await bench.counts() == (2, 1, 1, 4, 0)
    await archive.reindexing().run(Scope(every=True))
    sql = "SELECT instance_count, modalities FROM index.study ORDER BY id"
    rows = [tuple(row) for row in await bench.prepared.fetch(sql)]
    assert rows == [(2, ["CT", "MR"]), (2, ["CT"])]
    kinds = await bench.prepared.fetch("SELECT kind FROM index.conflict ORDER BY kind")
    assert [row["kind"] for row in kinds] == ["modality", "patient"]
    told = [name for name in await bench.told() if name.startswith("conflict")]
    assert told == ["conflict.opened.v1"] * 2
    before = await archive.meaning()
    await archive.reindexing().run(Scope(every=True))
    assert await archive.meaning() == before
    assert await bench.counts() == (2, 2, 3, 4, 2)
