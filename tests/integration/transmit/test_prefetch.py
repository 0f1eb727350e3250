"""Priors by rule, from DCMTK's archive into the whole stack (TRX-11)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.transmit.nodes import archive_node
from tests.integration.transmit.test_remote_query import add, logs
from tests.integration.transmit.test_rest import Both
from tests.integration.transmit.test_retrieve import EXPLICIT, LIMIT, indexed, stack
from tests.support.builders import a_data_set, encode, new_uid
from tests.support.dicom_peer import send
from tests.support.services import Services
from tests.support.waiting import until


@pytest.fixture
async def both(services: Services) -> AsyncIterator[Both]:
    async with stack(services) as made:
        yield made


def a_study(date: str, **changes: Any) -> Any:
    return a_data_set(
        StudyInstanceUID=new_uid(),
        SeriesInstanceUID=new_uid(),
        StudyDate=date,
        **{"PatientID": "PLANTED-7", **changes},
    )


async def prefetches(both: Both, count: int, state: str = "DONE") -> list[Any]:
    async def came() -> list[Any] | None:
        rows = await both.desk.prepared.fetch("SELECT * FROM transmit.prefetch")
        return rows if [row["state"] for row in rows] == [state] * count else None

    return await until(came, limit=LIMIT)


@pytest.mark.req("TRX-11")
async def test_priors_come_by_rule_once_and_want_none_themselves(
    both: Both, tmp_path: Path
) -> None:
    current = a_study("20240131")
    prior, older = a_study("20230101"), a_study("20220101")
    others = [
        a_study("20150101"),
        a_study("20230601", Modality="MR"),
        a_study("20250101"),
        a_study("20230701", PatientID="PLANTED-8"),
    ]
    files = [(one, EXPLICIT) for one in (current, prior, older, *others)]
    ours = ("DARKROOM", both.desk.services.dicom_port)
    with archive_node(tmp_path, files, move_to=ours) as port:
        await add(both, "ARCHIVE", port)
        wanted = {"remote": "ARCHIVE", "same_modality": True, "years": 5, "max_studies": 3}
        rule = {"name": "priors", "conditions": {"modalities": ["CT"]}, "prefetch": wanted}
        await both.call("POST", "/rules", 201, json=rule)
        unknown = {**rule, "name": "other", "prefetch": {"remote": "NOBODY"}}
        await both.call("POST", "/rules", 404, json=unknown)
        await both.call("DELETE", "/destinations/ARCHIVE", 409)
        given = [(str(current.SOPInstanceUID), encode(current))]
        await asyncio.to_thread(send, both.desk.services.dicom_port, given)
        for one in (prior, older):
            await indexed(both, str(one.StudyInstanceUID), 1)
        (row,) = await prefetches(both, 1)
        assert row["asked_for"] == 2
        jobs = (await both.call("GET", "/retrieve/jobs", 200))["data"]
        assert {one["study_instance_uid"] for one in jobs} == {
            str(prior.StudyInstanceUID),
            str(older.StudyInstanceUID),
        }
        assert {one["rule"] for one in jobs} == {"priors"}
        assert {one["prior_of"] for one in jobs} == {str(current.StudyInstanceUID)}
        # The priors are complete, too, and match the rule: they want none.
        complete = "SELECT 1 FROM index.study WHERE status = 'complete' HAVING count(*) = 3"
        await until(lambda: both.desk.prepared.fetch(complete), limit=LIMIT)
        explained = {}
        for one in (current, prior):
            asked = {"study_instance_uid": str(one.StudyInstanceUID)}
            explained[one is prior] = await both.call("POST", "/rules/dry-run", 200, json=asked)
        assert [explained[False]["is_prior"], explained[True]["is_prior"]] == [False, True]
        told = explained[False]["series"][0]["rules"][0]
        assert (told["matched"], told["prefetch"]["remote"]) == (True, "ARCHIVE")
        # Completed by metadata, routed by transmit: a later study shows that the queue is empty.
        later = a_study("20240201", PatientID="PLANTED-9")
        given = [(str(later.SOPInstanceUID), encode(later))]
        await asyncio.to_thread(send, both.desk.services.dicom_port, given)
        rows = await prefetches(both, 2)
        assert {one["study_instance_uid"] for one in rows} == {
            str(current.StudyInstanceUID),
            str(later.StudyInstanceUID),
        }
    assert "PLANTED" not in logs(both)
