"""A restored copy becomes anonymous: what was planted is found nowhere in it any more (MET-07)."""

import asyncio
import base64
import datetime as dt
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydicom.dataset import Dataset

from darkroom_common.index.rows import readable
from darkroom_common.postgres.phi import PhiKeys
from darkroom_local.engines.postgres import PrivatePostgres
from darkroom_local.recovery.archive import RecoveryError
from darkroom_local.recovery.masking import How, Masked, mask
from darkroom_local.stack.layout import SCHEMAS, Layout
from darkroom_local.stack.stack import DATABASE
from tests.integration.local.test_recovery import House
from tests.integration.metadata.test_indexer import indexing
from tests.support.builders import a_data_set, new_uid
from tests.support.database import Prepared

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
