"""What disagrees with its parents: kept, filed beside, told once."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from darkroom_common.index.fields import Level
from darkroom_common.index.query import Query
from darkroom_common.index.reader import IndexReader
from darkroom_common.messages.events import ConflictOpened
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.rekeying import Rekeying
from darkroom_metadata.rekey import COLUMNS
from tests.integration.metadata.test_indexer import BLIND, KEY, Bench, indexing
from tests.support.builders import a_data_set, new_uid
from tests.support.database import Prepared


@pytest.fixture
async def bench(superuser_url: str, tmp_path: Path) -> AsyncIterator[Bench]:
    prepared = await Prepared.make(superuser_url, "metadata")
    async with indexing(prepared, tmp_path) as made:
        yield made


async def opened(bench: Bench) -> list[dict[str, Any]]:
    rows = await bench.prepared.fetch(
        "SELECT body FROM index.outbox WHERE type = $1 ORDER BY id", ConflictOpened.TYPE
    )
    return [json.loads(row["body"]) for row in rows]


PATIENTS = {
    "another id": {"PatientID": "OTHER"},
    "another issuer": {"IssuerOfPatientID": "ELSEWHERE"},
    "no id": {"PatientID": ""},
    "another name": {"PatientName": "Other^Somebody"},
    "another sex": {"PatientSex": "F"},
    "another birth date": {"PatientBirthDate": "19500101"},
}


@pytest.mark.req("ING-15", "MET-06")
@pytest.mark.parametrize("changes", PATIENTS.values(), ids=list(PATIENTS))
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_study_of_another_patient_is_kept_beside_and_told(
    bench: Bench, changes: dict[str, str], at_once: bool
) -> None:
    study = new_uid()
    known = {"PatientSex": "M", "PatientBirthDate": "19700101", "StudyInstanceUID": study}
    first = [bench.stored(a_data_set(**known)) for _ in range(2)]
    other = [bench.stored(a_data_set(**(known | changes))) for _ in range(3)]
    for part in [[*first, *other]] if at_once else [first, other]:
        await bench.index(*part)
    await bench.index(*other)  # delivered again
    rows = await bench.prepared.fetch(
        "SELECT s.instance_count, s.series_count FROM index.study s ORDER BY s.id"
    )
    assert [tuple(row) for row in rows] == [(2, 2), (3, 3)]
    (told,) = await opened(bench)
    assert told["kind"] == "patient"
    assert told["study_instance_uid"] == study
    assert set(told["attributes"]) == set(changes)


@pytest.mark.req("MET-02")
async def test_what_stands_beside_comes_under_a_new_key_too(bench: Bench) -> None:
    study, series = new_uid(), new_uid()
    shared = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    first = a_data_set(**shared)
    again = a_data_set(**shared, SOPInstanceUID=first.SOPInstanceUID, InstanceNumber=9)
    sets = [
        first,
        again,
        a_data_set(**shared, PatientID="OTHER"),
        a_data_set(**shared, Modality="MR"),
    ]
    await bench.index(*(bench.stored(one) for one in sets))
    assert len(await opened(bench)) == 3
    keys = PhiKeys(2, {1: KEY, 2: base64.b64encode(b"n" * 32).decode()})
    await Rekeying(bench.indexer.database, "index", COLUMNS, keys, 0, lambda _: None).run()
    for table in ("study_beside", "series_beside", "study", "series", "conflict"):
        sql = f"SELECT DISTINCT phi_key FROM index.{table} WHERE phi_key IS NOT NULL"
        assert [row[0] for row in await bench.prepared.fetch(sql)] == [2], table
    reader = IndexReader(bench.indexer.database, keys=keys, blind=BLIND)
    found = await reader.search(Query(Level.SERIES, study_uid=study, include_all=True))
    assert {one.series.modality for one in found.results if one.series} == {"CT", "MR"}
    conflict = (
        await bench.prepared.fetch("SELECT id FROM index.conflict WHERE kind = 'instance'")
    )[0]
    shown = await reader.conflict(conflict["id"])
    assert shown is not None
    assert shown.other is not None
    assert shown.other.attributes["00200013"]["Value"] == [9]
