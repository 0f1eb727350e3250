"""Attributes that people have named to search by, of what is there and what comes (MET-05)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset

from darkroom_common.jobs.lease import Claims
from darkroom_common.postgres.outbox import Outbox
from darkroom_metadata.indexing.repository import IndexRepository, lock_studies
from darkroom_metadata.indexing.rows import RowWriter
from darkroom_metadata.tagging.tagging import Tagging, tag_jobs
from darkroom_metadata.tagging.writer import TagWriter
from tests.integration.api.conftest import Api, running_api
from tests.support.builders import a_data_set
from tests.support.services import Services
from tests.support.waiting import until

TAGS = "/api/v1/indexed-tags"
JOBS = "/api/v1/tag-jobs"
CREATOR = "GEMS_IDEN_01"


@pytest.fixture
async def house(services: Services) -> AsyncIterator[Api]:
    async with running_api(services) as made:
        yield made


def an_object(**values: Any) -> Dataset:
    """Return an object with a private element in its creator's second block, and codes."""
    data_set = a_data_set(**values)
    block = data_set.private_block(0x0009, "SOMEBODY ELSE", create=True)
    block.add_new(0x02, "SH", "OTHER")
    block = data_set.private_block(0x0009, CREATOR, create=True)
    block.add_new(0x02, "SH", f"SUITE-{data_set.SeriesDescription}")
    code = Dataset()
    code.CodeValue = f"C-{data_set.SeriesDescription}"
    data_set.ProcedureCodeSequence = [code]
    return data_set


async def add(api: Api, name: str, path: str, level: str, **more: Any) -> httpx.Response:
    answer = await api.client.post(TAGS, json={"name": name, "path": path, "level": level, **more})
    assert answer.status_code == 201, answer.text
    return answer


async def newest(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = (await api.client.get(JOBS)).json()["data"][0]
    return found


async def done(api: Api) -> dict[str, Any]:
    """Wait until the job of the last change has ended."""

    async def ended() -> dict[str, Any] | None:
        job = await newest(api)
        return job if job["state"] == "DONE" else None

    return await until(ended, "the tags are kept of all that is stored")


async def found(api: Api, level: str, **asked: str) -> list[str]:
    """Return the descriptions of the series that a search finds."""
    answer = await api.client.get(
        f"/dicom-web/{level}", params={**asked, "includefield": "SeriesDescription"}
    )
    assert answer.status_code in (200, 204), answer.text
    if not answer.content:
        return []
    field = "0008103E" if level != "studies" else "00100020"
    return sorted(one[field]["Value"][0] for one in answer.json())


@pytest.mark.req("MET-05")
async def test_tags_are_found_after_a_job_that_rests_goes_on_and_survives(house: Api) -> None:
    one = an_object(SeriesDescription="ONE", PatientID="P1", ExposureTime="100", Exposure="7")
    two = an_object(SeriesDescription="TWO", PatientID="P2", ExposureTime="0200")
    three = an_object(
        StudyInstanceUID=two.StudyInstanceUID,
        SeriesInstanceUID=two.SeriesInstanceUID,
        SeriesDescription="TWO",
        PatientID="P2",
        ExposureTime="300",
    )
    await house.seed.add(one, two, three)
    refused = await house.client.get("/dicom-web/studies?Suite=SUITE-ONE")
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "Suite")
    await house.services.start("metadata")
    async with house.seed.database.acquire() as db, db.transaction():
        last = await db.fetchval("SELECT study_instance_uid FROM index.study ORDER BY id DESC")
        left = "TWO" if last == two.StudyInstanceUID else "ONE"
        # The job cannot go through the last study while somebody else writes it.
        await lock_studies(db, {last})
        await add(house, "Suite", "00091002", "series", creator=CREATOR)

        async def begun() -> dict[str, Any] | None:
            job = await newest(house)
            return job if (job["state"], job["studies"]) == ("INDEXING", 1) else None

        job = await until(begun, "the job has done the first study")
        assert (job["instances"], job["total"]) == (1 if left == "TWO" else 2, 2)
        answer = await house.client.get("/dicom-web/series", params={"Suite": "SUITE-ONE"})
        assert answer.headers["warning"].startswith("299 ")  # not all of them, yet
        path = f"{JOBS}/{job['job_id']}"
        assert (await house.client.post(f"{path}/pause")).json()["state"] == "PAUSED"
        assert (await house.client.post(f"{path}/pause")).status_code == 409
        await house.services.running["metadata"].kill()
    await house.services.start("metadata")
    resting = (await house.client.get(path)).json()
    assert (resting["state"], resting["studies"]) == ("PAUSED", 1)
    assert await found(house, "series", Suite=f"SUITE-{left}") == []
    assert (await house.client.post(f"{path}/resume")).json()["state"] == "PENDING"
    ended = await done(house)
    assert (ended["studies"], ended["instances"]) == (2, 3)
    # in a sequence, a number, of each instance: several changes, one job counts
    await add(house, "ProcedureCode", "ProcedureCodeSequence.CodeValue", "study")
    await add(house, "ExposureTime", "ExposureTime", "instance")
    await done(house)
    for level, asked, wanted in (
        ("series", {"Suite": "suite-one"}, ["ONE"]),
        ("series", {"00091002": "SUITE-T*"}, ["TWO"]),
        ("studies", {"ProcedureCode": "C-ONE"}, ["P1"]),
        ("studies", {"ProcedureCodeSequence.CodeValue": "C-T?O"}, ["P2"]),
        ("studies", {"00081032.00080100": "C-X"}, []),
        ("instances", {"ExposureTime": "200"}, ["TWO"]),
        ("instances", {"ExposureTime": "1E+2", "Suite": "SUITE-ONE"}, ["ONE"]),
        ("instances", {"ExposureTime": "100\\300"}, ["ONE", "TWO"]),
        ("studies", {"ProcedureCode": '""', "emptyvaluematching": "true"}, []),
        ("instances", {"ExposureTime": '""', "emptyvaluematching": "true"}, []),
    ):
        assert await found(house, level, **asked) == wanted, asked
    answer = await house.client.get(
        "/dicom-web/series", params={"Suite": "SUITE-TWO", "includefield": "ProcedureCode"}
    )
    assert "warning" not in answer.headers
    (series,) = answer.json()
    assert series["00091102"]["Value"] == ["SUITE-TWO"]  # where the object has it
    assert series["00090011"]["Value"] == [CREATOR]
    assert series["00081032"]["Value"][0]["00080100"]["Value"] == ["C-TWO"]
    for level, key in (("studies", "Suite"), ("series", "ExposureTime")):
        answer = await house.client.get(f"/dicom-web/{level}", params={key: "1"})
        assert answer.status_code == 400
    for tag, total in (("ProcedureCode=c-one", 1), ("ProcedureCode=C-*", 2), ("Suite=X", None)):
        answer = await house.client.get("/api/v1/studies", params={"tag": tag})
        assert answer.json().get("total") == total, tag
        assert answer.status_code == (200 if total else 400)
    await nothing_is_readable_and_what_is_written_anew_is_found(house, one)
    assert (await house.client.delete(f"{TAGS}/Suite")).status_code == 204
    await done(house)
    assert (await house.client.get("/dicom-web/series?Suite=x")).status_code == 400


async def nothing_is_readable_and_what_is_written_anew_is_found(house: Api, one: Dataset) -> None:
    # nothing of it can be read without the keys
    async with house.seed.database.acquire() as db:
        rows = await db.fetch("SELECT t::text AS row FROM index.tagged t")
        assert rows
        assert not any("SUITE" in row["row"] or "C-ONE" in row["row"] for row in rows)
        # what was written anew is gone through again, by whomever it was written
        await db.execute(
            "UPDATE index.instance SET header = pgp_sym_encrypt(replace(pgp_sym_decrypt(header,"
            " $1), 'SUITE-ONE', 'SUITE-NEW'), $1) WHERE sop_instance_uid = $2",
            house.seed.keys.current_key,
            str(one.SOPInstanceUID),
        )

    async def anew() -> bool:
        return await found(house, "series", Suite="SUITE-NEW") == ["ONE"]

    await until(anew, "the series is gone through again")
    assert await found(house, "series", Suite="SUITE-ONE") == []


async def test_what_makes_no_tag_is_refused(house: Api) -> None:
    await house.services.start("metadata")
    for given in (
        {"path": "Nonsense", "level": "study"},
        {"path": "00091002", "level": "study"},
        {"path": "PatientID", "level": "study", "creator": "X"},
        {"path": "PixelData", "level": "instance"},
        {"path": "ProcedureCodeSequence", "level": "study"},
        {"path": "PatientID.CodeValue", "level": "study"},
        {"path": "00091002", "level": "study", "creator": "NOBODY KNOWS"},
        {"path": "PatientID", "level": "frame"},
        {"path": "PatientID; DROP", "level": "study"},
    ):
        answer = await house.client.post(TAGS, json={"name": "One", **given})
        assert answer.status_code == 422, given
        assert answer.json()["errors"]
    assert (await house.client.get(TAGS)).json()["data"] == []


async def test_what_comes_while_tags_change_is_tagged_by_its_writer_or_the_job(house: Api) -> None:
    """A writer that has begun before a change ends before it; one that begins later knows it."""
    seed = house.seed
    writer = TagWriter(seed.keys, seed.blind)
    repository = IndexRepository(RowWriter(seed.keys), writer)
    spec = '{"path": "ProtocolName", "level": "series"}'

    async def change() -> None:
        async with seed.database.transaction() as db:
            await db.execute("INSERT INTO index.tag (name, spec) VALUES ('P', $1::jsonb)", spec)

    first, second = a_data_set(ProtocolName="EARLY"), a_data_set(ProtocolName="LATE")
    async with seed.database.transaction() as db:
        await repository.add(db, seed.items(first))
        changing = asyncio.create_task(change())
        done, _ = await asyncio.wait({changing}, timeout=0.2)
        assert not done  # it waits for who has looked at the tags
    await changing
    async with seed.database.transaction() as db:
        await repository.add(db, seed.items(second))
    assert await tagged(house) == 1
    outbox = Outbox("index")
    tagging = Tagging(Claims(tag_jobs(outbox), seed.database, "me", 30.0), writer)
    job = await tagging.claims.claim()
    assert job is not None
    await tagging.claims.finish(job, await tagging.attempt(job))
    assert await tagged(house) == 2
    assert (await newest(house))["state"] == "DONE"


async def tagged(api: Api) -> int:
    """Return how many rows of values there are."""
    async with api.seed.database.acquire() as db:
        count: int = await db.fetchval("SELECT count(*) FROM index.tagged")
    return count
