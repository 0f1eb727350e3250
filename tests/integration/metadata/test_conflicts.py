"""What disagrees with its parents: kept, filed beside, told once."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from darkroom_common.messages.events import ConflictOpened
from tests.integration.metadata.test_indexer import Bench, indexing
from tests.support.builders import a_data_set, new_uid
from tests.support.database import Prepared

_ROWS = (
    "SELECT s.study_instance_uid, count(DISTINCT s.id) AS studies, count(DISTINCT e.id) AS series,"
    " count(i.id) AS instances, count(DISTINCT s.patient_id) AS patients FROM index.study s"
    " JOIN index.series e ON e.study_id = s.id JOIN index.instance i ON i.series_id = e.id"
    " GROUP BY 1"
)


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
