"""A restored copy becomes anonymous: what was planted is found nowhere in it any more (MET-07)."""

import asyncio
import base64
import datetime as dt
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless
from typer.testing import CliRunner

from darkroom_common.dicom.part10 import FileMeta, encode_head
from darkroom_common.index.rows import readable
from darkroom_common.messages.events import StoredItem
from darkroom_common.postgres.phi import PhiKeys
from darkroom_local.commands.cli import app
from darkroom_local.engines.postgres import PrivatePostgres
from darkroom_local.recovery.archive import RecoveryError
from darkroom_local.recovery.masking import How, Masked, mask
from darkroom_local.stack.layout import SCHEMAS, Layout
from darkroom_local.stack.stack import DATABASE
from tests.integration.local.test_recovery import House
from tests.integration.metadata.test_indexer import indexing
from tests.support.builders import a_data_set, new_uid
from tests.support.database import Prepared
from tests.support.shown import require_shown

PATIENTS, PICTURES = 10, 10
RULES = [
    {"modality": "US", "manufacturer": "acme", "rows": 16, "columns": 64, "blank": [[0, 0, 64, 4]]}
]
_TABLES = (
    "SELECT table_schema || '.' || table_name AS name FROM information_schema.tables"
    " WHERE table_schema = ANY($1) AND table_type = 'BASE TABLE'"
)


class Planted:
    """Objects with what must not be found again."""

    def __init__(self) -> None:
        self.values: list[str] = []
        self.pixels: list[bytes] = []
        self.data_sets: list[Dataset] = []
        for number in range(PATIENTS):
            self._patient(number)

    def _plant(self, value: str) -> str:
        self.values.append(value)
        return value

    def _patient(self, number: int) -> None:
        name = self._plant(f"Plantagenet{number}^Eleonore{number}")
        patient = self._plant(f"PID-{number:03}-9431")
        born = dt.date(1931 + number, 3, 7 + number)
        for study in range(2):
            day = dt.date(2013 + number % 5, 2 + number, 11 + study)
            self._object(f"{number}{study}", name, patient, born, day, picture=study == 1)
        self._plant(f"{born:%Y%m%d}")

    def _object(
        self, at: str, name: str, patient: str, born: dt.date, day: dt.date, *, picture: bool
    ) -> None:
        uids = [self._plant(new_uid()) for _ in range(3)]
        one = a_data_set(
            **dict(
                zip(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"), uids, strict=True)
            ),
            PatientName=name,
            PatientID=patient,
            PatientBirthDate=f"{born:%Y%m%d}",
            StudyDate=self._plant(f"{day:%Y%m%d}"),
            AccessionNumber=self._plant(f"ACC{at}77123"),
            StudyDescription=self._plant(f"asked by ward Rosenhof{at}"),
            ImageComments=self._plant(f"call mother of Liesbeth{at}"),
            ReferringPhysicianName=self._plant(f"Sauerbruch{at}^F"),
            InstitutionName="Charitas Planthof",
        )
        block = one.private_block(0x0029, "PLANTED CORP", create=True)
        block.add_new(0x10, "LO", self._plant(f"private Lorelei{at}"))
        if picture:
            self._picture(one, int(at[0]))
        self.data_sets.append(one)

    def _picture(self, one: Dataset, number: int) -> None:
        written = bytes((number * 31 + position * 7) % 251 + 1 for position in range(64 * 4))
        self.pixels.append(written)
        one.SOPClassUID, one.Modality = "1.2.840.10008.5.1.4.1.1.6.1", "US"
        one.Manufacturer = "ACME Ultrasound" if number < PICTURES - 2 else "Other"
        one.Rows, one.Columns = 16, 64
        one.PixelData = written + bytes([200]) * (12 * 64)
        one.BurnedInAnnotation = "YES"


@pytest.fixture
async def house(superuser_url: str, engine_directory: Path, tmp_path: Path) -> AsyncIterator[House]:
    prepared = await Prepared.make(superuser_url, *SCHEMAS)
    async with indexing(prepared, tmp_path) as bench:
        yield House(bench, engine_directory, superuser_url)


async def filled(house: House) -> set[str]:
    """Return the tables that have rows."""
    fetch = house.bench.prepared.fetch
    names = [row["name"] for row in await fetch(_TABLES, [*SCHEMAS.values()])]
    return {one for one in names if await fetch(f"SELECT FROM {one} LIMIT 1")}


async def restored(house: House, planted: Planted) -> tuple[Path, set[str]]:
    """A copy of an installation in which all is planted: rows, objects, and files beside.

    Also the tables that have rows where objects were received, and nothing else was done.
    """
    await house.bench.index(*(house.bench.stored(one) for one in planted.data_sets))
    usual = await filled(house)
    said = " ".join(planted.values)
    described = "jsonb_build_object('description', $1::text)"
    for statement in (
        "INSERT INTO transmit.change (by, action, kind, name) VALUES ($1, 'added', 'job', $1)",
        f"INSERT INTO transmit.destination (name, spec) VALUES ('PACS', {described})",
        "INSERT INTO index.change (by, action, kind, name) VALUES ($1, $1, 'conflict', $1)",
    ):
        await house.bench.prepared.fetch(statement, said)
    done = await house.back_up()
    compared = await house.restore(done.name)
    assert compared.agrees
    for place in (
        "logs/api.log",
        "spool/quarantine/one",
        "rabbitmq/queue",
        "traces/1",
        "scratch/x",
    ):
        path = house.data / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(said)
    return house.data, usual


async def masked(data: Path, how: How) -> tuple[Masked, list[Mapping[str, Any]]]:
    told: list[Mapping[str, Any]] = []
    return await asyncio.to_thread(mask, data, how, tell=told.append), told


def found_in(planted: Planted, content: bytes) -> list[str]:
    values = [one for one in planted.values if one.encode() in content]
    return values + [f"picture {n}" for n, one in enumerate(planted.pixels) if one[:64] in content]


def files(data: Path) -> Iterator[Path]:
    return (Path(top, name) for top, _, names in os.walk(data) for name in names)


async def opened(layout: Layout, url: str) -> tuple[list[bytes], dict[str, int]]:
    """Return all that the database says, its sealed columns opened, and the rows of each table."""
    keys = PhiKeys.parse((layout.secrets / "phi-keys").read_text())
    db = await asyncpg.connect(url)
    try:
        said: list[bytes] = []
        rows: dict[str, int] = {}
        schemas = [*SCHEMAS.values()]
        for (table,) in await db.fetch(_TABLES, schemas):
            found = await db.fetch(f"SELECT t::text FROM {table} AS t")
            rows[table] = len(found)
            said += [row[0].encode() for row in found]
        for name in ("patient.phi", "study.phi", "series.phi", "instance.header"):
            table, _, column = name.partition(".")
            sql = (
                f"SELECT pgp_sym_decrypt_bytea({column}, ($1::text[])[phi_key]) FROM index.{table}"
            )
            said += [readable(row[0]) for row in await db.fetch(sql, keys.by_id())]
        return said, rows
    finally:
        await db.close()


@pytest.mark.req("MET-07")
async def test_what_was_planted_is_found_nowhere_in_a_masked_copy(house: House) -> None:
    planted = Planted()
    assert len(planted.values) >= 200
    data, usual = await restored(house, planted)
    rules = house.place / "rules.json"
    rules.write_text(json.dumps(RULES))
    before = {path: path.read_bytes() for path in files(data / "objects")}
    dry, _ = await masked(data, How(rules=rules, dry=True))
    assert (dry.objects, sum(dry.refused.values()), dry.indexed) == (18, 2, 0)
    assert {path: path.read_bytes() for path in files(data / "objects")} == before
    key = house.place / "pseudonyms"
    key.write_text(base64.b64encode(b"k" * 32).decode())  # whose shifts hit no other planted day
    done, told = await masked(data, How(rules=rules, key_file=key))
    assert (done.objects, done.indexed, sum(done.refused.values())) == (18, 18, 2)
    refused = [one for one in told if one["event"] == "refused"]
    assert not found_in(planted, json.dumps(refused).encode())
    for path in files(data):
        assert found_in(planted, path.read_bytes() + str(path).encode()) == [], path
    layout = Layout(data)
    server = PrivatePostgres(layout.postgres, fsync=False)
    await server.start()
    try:
        said, rows = await opened(layout, server.superuser_url(DATABASE))
    finally:
        await server.stop()
    assert found_in(planted, b"\n".join(said)) == []
    assert {table for table, count in rows.items() if count} <= usual
    assert (rows["index.patient"], rows["index.study"], rows["index.instance"]) == (10, 18, 18)
    assert not (data.parent / f".{data.name}.unmasked").exists()
    with pytest.raises(RecoveryError, match="is not a copy"):
        await masked(data, How())


@pytest.mark.req("MET-07")
async def test_a_directory_with_real_traffic_is_not_masked(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    layout.make()
    with pytest.raises(RecoveryError, match="is not a copy"):
        await masked(layout.data, How())
    layout.restored.write_text("{}")
    layout.state.write_text("{}")
    with pytest.raises(RecoveryError, match="runs in"):
        await masked(layout.data, How())


def few(*numbers: int) -> Planted:
    """Less of it: the pictures of some patients alone."""
    planted = Planted()
    pictures = [one for one in planted.data_sets if one.Modality == "US"]
    planted.data_sets = [pictures[number] for number in numbers]
    planted.pixels = [planted.pixels[number] for number in numbers]
    return planted


def compress(house: House, one: Dataset) -> StoredItem:
    """Store a picture of the plant as RLE, as a device has sent it."""
    one.ensure_file_meta()
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 8, 8, 7, 0
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.compress(RLELossless)
    item = house.bench.stored(one)
    path = house.bench.directory / item.object_key
    meta = FileMeta(str(one.SOPClassUID), item.sop_instance_uid, str(RLELossless))
    head, data = encode_head(meta), path.read_bytes()[item.data_set_offset :]
    path.write_bytes(head + data)
    more = {"transfer_syntax_uid": str(RLELossless), "data_set_offset": len(head)}
    return item.model_copy(update=more)


@pytest.mark.req("MET-07")
async def test_burned_in_text_of_a_compressed_picture_is_blanked(house: House) -> None:
    planted = few(0, 9)
    items = [compress(house, one) for one in planted.data_sets]
    await house.bench.index(*items)
    done = await house.back_up()
    assert (await house.restore(done.name)).agrees
    rules = house.place / "rules.json"
    rules.write_text(json.dumps(RULES))
    result, _ = await masked(house.data, How(rules=rules))
    assert (result.objects, result.indexed, sum(result.refused.values())) == (1, 1, 1)
    (path,) = Layout(house.data).objects.rglob("*.dcm")
    made = dcmread(path)
    assert not made.file_meta.TransferSyntaxUID.is_compressed
    assert made.PixelData == bytes(64 * 4) + bytes([200]) * (12 * 64)
    assert made.BurnedInAnnotation == "NO"
    assert found_in(planted, path.read_bytes()) == []


@pytest.mark.req("MET-07")
async def test_a_masking_that_was_killed_is_done_anew(house: House) -> None:
    planted = few(0, 1, 9)
    await restored(house, planted)
    rules = house.place / "rules.json"
    rules.write_text(json.dumps(RULES))
    before = {path.name for path in Layout(house.data).objects.rglob("*.dcm")}
    words = ("-m", "tests.support.dying_masking", str(house.data), str(rules))
    process = await asyncio.create_subprocess_exec(sys.executable, *words)
    assert await process.wait() == -signal.SIGKILL
    assert {path.name for path in Layout(house.data).objects.rglob("*.dcm")} == before
    # Or it dies at its end, when the copy has been taken away and the new one is not in its place.
    old = house.data.with_name(f".{house.data.name}.unmasked")
    house.data.rename(old)
    done, _ = await masked(house.data, How(rules=rules))
    assert (done.objects, done.indexed, sum(done.refused.values())) == (2, 2, 1)
    for path in files(house.data):
        assert found_in(planted, path.read_bytes() + str(path).encode()) == [], path
    assert not old.exists()


@pytest.mark.req("MET-07")
async def test_a_test_installation_is_made_anew_in_one_go(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = few(0, 1, 9)
    await house.bench.index(*(house.bench.stored(one) for one in planted.data_sets))
    rules = house.place / "rules.json"
    rules.write_text(json.dumps(RULES))
    for name, value in {
        "POSTGRES_URL": house.superuser_url,
        "STORE_URL": house.bench.directory.as_uri(),
        "PHI_KEYS_FILE": str(house.secrets / "phi-keys"),
        "MASK_RULES": str(rules),
    }.items():
        monkeypatch.setenv(f"DARKROOM_{name}", value)
    words = ["refresh-test", str(house.backups), "--key-file", str(house.key_file)]
    words += ["--test", str(house.data), "--data", str(house.secrets.parent)]

    async def run(*more: str) -> tuple[int, str]:
        made = await asyncio.to_thread(CliRunner().invoke, app, [*words, *more])
        return made.exit_code, made.output

    code, said = await run("--dry-run")
    assert (code, "2 objects would be masked, 1 left out" in said) == (1, True), said
    require_shown(said, "masking.md", "DARKROOM_MASK_RULES=rules.json darkroom refresh-test")
    assert not house.data.exists()
    code, said = await run()
    assert (code, "2 objects masked, 1 left out" in said) == (1, True), said
    found = list(files(house.data))
    assert sum(path.suffix == ".dcm" for path in found) == 2
    for path in found:
        assert found_in(planted, path.read_bytes() + str(path).encode()) == [], path
    code, said = await run()
    assert (code, "not empty" in said) == (2, True), said
    assert list(files(house.data)) == found, "what is there stays"
