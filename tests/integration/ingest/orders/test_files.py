"""Orders by files in a directory; what becomes of old ones."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from pydicom.dataset import Dataset

from darkroom_common.errors import DependencyUnavailable
from darkroom_common.postgres.pool import Database
from darkroom_common.specs.worklist.entries import WorklistEntry
from darkroom_ingest.orders.answering import ACCEPTED
from darkroom_ingest.orders.drop import REJECTED, Drop
from darkroom_ingest.orders.reading import header_of
from darkroom_ingest.orders.serving import tidy_once
from darkroom_ingest.worklist.attributes import attributes
from tests.integration.ingest.orders.house import House
from tests.unit.ingest.orders.builders import order


@pytest.fixture
def drop(house: House, tmp_path: Path) -> Drop:
    (tmp_path / "CT1").mkdir()
    return Drop(tmp_path, house.orders, 100_000, "ISO_IR 192")


async def looked(drop: Drop) -> None:
    await drop.look()
    await drop.look()


def a_worklist_file(path: Path, **changes: Any) -> None:
    given = {"patient_name": "Müller^Jörg", "patient_id": "P1", "accession_number": "W1"}
    more = {"scheduled_at": "2026-11-27T10:30:00", "modality": "MR", "patient_sex": "M"}
    step = {"scheduled_procedure_step_id": "S9", "study_instance_uid": "1.2.9"}
    entry = WorklistEntry.model_validate(given | more | step | changes)
    data_set = Dataset.from_json(attributes(entry, ["MR1"]))
    data_set.SpecificCharacterSet = "ISO_IR 100"
    data_set.save_as(path, implicit_vr=False, little_endian=True)


async def test_dropped_files_become_entries(house: House, drop: Drop) -> None:
    a_worklist_file(drop.directory / "CT1" / "one.wl")
    entry = {"patient_name": "J", "patient_id": "P2", "scheduled_at": "2026-11-27T11:30:00"}
    several = [{**entry, "modality": "CT"}, {**entry, "modality": "US", "accession_number": "J2"}]
    (drop.directory / "two.json").write_bytes(orjson.dumps(several))
    (drop.directory / "three.hl7").write_text(order() + order(accession="H2", message="M2"))
    await looked(drop)
    found = [house.entries.opened(row) for row in await house.rows()]
    assert {one.accession_number for one in found} == {"W1", "", "J2", "A1", "H2"}
    worklist_file = next(one for one in found if one.accession_number == "W1")
    assert worklist_file.patient_name == "Müller^Jörg"
    assert worklist_file.scheduled_station_ae_titles == ("MR1",)
    assert [path.name for path in drop.directory.rglob("*") if path.is_file()] == []
    assert {one["source"] for one in await house.told()} == {"file"}


async def test_what_cannot_be_taken_lies_in_rejected_with_the_reason(
    house: House, drop: Drop
) -> None:
    (drop.directory / "bad.json").write_text('{"patient_name": "Planted"}')
    (drop.directory / "bad.wl").write_bytes(b"\xff" * 501)
    (drop.directory / "bad.hl7").write_text(order("ZZ"))
    (drop.directory / "none.json").write_text("{")
    (drop.directory / "big.json").write_bytes(b" " * 100_001)
    await looked(drop)
    (drop.directory / "bad.json").write_text("[]")
    await looked(drop)
    assert await house.rows() == []
    reasons = {
        path.name.removesuffix(".reason.txt"): path.read_text().strip()
        for path in (drop.directory / REJECTED).glob("*.reason.txt")
    }
    assert reasons == {
        "bad.json": "patient_id: missing; scheduled_at: missing; modality: missing",
        "bad.2.json": "it has 0 entries",
        "bad.wl": "this is no data set",
        "bad.hl7": "message 1: ORC^1^1: the order control is not taken (103)",
        "none.json": "this is no JSON",
        "big.json": "it has more than 100000 bytes",
    }
    assert {path.name for path in (drop.directory / REJECTED).iterdir()} == {
        *reasons,
        *(f"{name}.reason.txt" for name in reasons),
    }


async def test_what_is_being_written_is_not_read(house: House, drop: Drop) -> None:
    path = drop.directory / "slow.json"
    with path.open("w") as file:
        file.write('{"patient_name": "J", "patient_id": "P2",')
        file.flush()
        await looked(drop)
        await looked(drop)
        assert path.exists()
        file.write('"scheduled_at": "2026-11-27T11:30:00", "modality": "CT"}')
    (drop.directory / ".hidden.json").write_text("{")
    (drop.directory / "link.json").symlink_to(path)
    await looked(drop)
    assert len(await house.rows()) == 1
    assert {one.name for one in drop.directory.iterdir()} == {"CT1", ".hidden.json", "link.json"}


async def test_a_file_that_stayed_after_it_was_taken_is_taken_once(
    house: House, drop: Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = drop.directory / "one.json"
    given = {"patient_name": "J", "patient_id": "P2", "scheduled_at": "2026-11-27T11:30:00"}
    path.write_bytes(orjson.dumps({**given, "modality": "CT"}))

    def died(*_: object) -> None:
        raise OSError("died")

    with monkeypatch.context() as patch:
        patch.setattr(Drop, "_away", died)
        with pytest.raises(OSError, match="died"):
            await looked(drop)
    assert path.exists()
    await looked(drop)
    assert len(await house.rows()) == 1
    assert not path.exists()


async def test_files_wait_while_the_database_is_away(
    house: House, drop: Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    (drop.directory / "one.hl7").write_text(order())

    def away(*_: object) -> Any:
        raise DependencyUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(Database, "transaction", away)
        with pytest.raises(DependencyUnavailable):
            await looked(drop)
    await looked(drop)
    assert len(await house.rows()) == 1


async def test_old_entries_go_and_others_stay(house: House) -> None:
    old = order(message="M2", accession="OLD").replace("20261127103000", "20200101103000")
    for message in (order().encode(), old.encode()):
        assert await house.orders.message(message, header_of(message)) == ACCEPTED
    assert await tidy_once(house.entries, 90) == 0  # it has come just now
    async with house.database.acquire() as db:
        await db.execute("UPDATE ingest.worklist SET updated_at = now() - interval '91 days'")
        await db.execute("INSERT INTO ingest.taken VALUES ('x', now() - interval '31 days')")
    assert await tidy_once(house.entries, 0) == 0
    assert await tidy_once(house.entries, 90) == 1
    assert [house.entries.opened(row).accession_number for row in await house.rows()] == ["A1"]
    async with house.database.acquire() as db:
        assert await db.fetchval("SELECT count(*) FROM ingest.taken") == 2
