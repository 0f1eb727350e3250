"""An operator decides about conflicts: what is shown afterwards, and what is kept."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from darkroom_common.index.fields import Level
from tests.integration.metadata.resolving import House, house
from tests.support.builders import a_data_set, new_uid


@pytest.fixture
async def desk(superuser_url: str, tmp_path: Path) -> AsyncIterator[House]:
    async with house(superuser_url, tmp_path) as made:
        yield made


async def two_patients(desk: House, *, firsts: int = 2, others: int = 3) -> dict[str, Any]:
    """Receive a study of which some objects are of another patient; return what they share."""
    shared = {"StudyInstanceUID": new_uid(), "SeriesInstanceUID": new_uid()}
    one = {"PatientID": "FIRST", "PatientName": "First^Patient", "PatientSex": "M"}
    two = {"PatientID": "OTHER", "PatientName": "Other^Patient", "PatientBirthDate": "19500101"}
    await desk.received(*(a_data_set(**shared, **one) for _ in range(firsts)))
    await desk.received(*(a_data_set(**shared, **two) for _ in range(others)))
    await desk.require_agreement()
    return shared


@pytest.mark.req("MET-06")
async def test_each_is_found_under_its_own_patient_before_anybody_decides(desk: House) -> None:
    await two_patients(desk)
    assert len(await desk.found(PatientID="FIRST")) == 2
    assert len(await desk.found(PatientID="OTHER")) == 3
    assert len(await desk.found(Level.STUDY, PatientName="Other^Patient")) == 1


@pytest.mark.req("MET-06")
async def test_merged_under_the_first(desk: House) -> None:
    await two_patients(desk)
    (conflict,) = await desk.conflicts()
    assert await desk.decide(conflict["id"], "merge") == ("DONE", "")
    await desk.require_agreement()
    assert len(await desk.found(PatientID="FIRST")) == 5
    assert await desk.found(PatientID="OTHER") == []
    assert len(await desk.found(Level.STUDY)) == len(await desk.found(Level.SERIES)) == 1
    (event, *_) = [one for one in await desk.events() if "conflict_id" in one]
    assert (event["state"], event["instances"], event["requested_by"]) == ("merged", 3, "olga")
    replaced = [item for one in await desk.events() for item in one.get("items", ())]
    assert len(replaced) == 3
    assert len(await desk.conflicts("kind = 'correction' AND state = 'kept'")) == 3
    assert await desk.conflicts() == []


@pytest.mark.req("MET-06")
async def test_moved_to_a_third_patient(desk: House) -> None:
    await two_patients(desk)
    await desk.received(a_data_set(PatientID="THIRD", PatientName="Third^Patient"))
    (conflict,) = await desk.conflicts()
    why = await desk.decide(conflict["id"], "move", patient_id="NOBODY")
    assert why == ("FAILED", "the index knows no such patient")
    why = await desk.decide(conflict["id"], "move", patient_id="OTHER")
    assert why == ("FAILED", "the images are of this patient already")
    assert await desk.decide(conflict["id"], "move", patient_id="THIRD") == ("DONE", "")
    await desk.require_agreement()
    assert len(await desk.found(PatientID="THIRD")) == 4
    assert await desk.found(PatientID="OTHER") == []
    assert await desk.conflicts() == []


@pytest.mark.req("MET-06")
async def test_split_to_a_study_of_its_own(desk: House) -> None:
    shared = await two_patients(desk)
    (conflict,) = await desk.conflicts()
    assert await desk.decide(conflict["id"], "split") == ("DONE", "")
    await desk.require_agreement()
    found = await desk.found(Level.SERIES, PatientID="OTHER")
    assert {one.study.study_instance_uid for one in found} & {shared["StudyInstanceUID"]} == set()
    assert found[0].series.series_instance_uid != shared["SeriesInstanceUID"]
    assert await desk.conflicts() == []


@pytest.mark.req("STO-03", "MET-06")
async def test_other_bytes_are_promoted_and_back(desk: House) -> None:
    first = a_data_set(InstanceNumber=1)
    other = a_data_set(InstanceNumber=2)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(other, keyword, getattr(first, keyword))
    await desk.received(first)
    await desk.received(other)
    (conflict,) = await desk.conflicts()
    before = conflict["object_key"]
    for number in (2, 1, 2):
        assert await desk.decide(conflict["id"], "promote") == ("DONE", "")
        await desk.require_agreement()
        (found,) = await desk.found()
        assert found.instance.instance_number == number
    (row,) = await desk.conflicts("true")
    assert (row["state"], row["kind"]) == ("promoted", "instance")
    assert row["object_key"] != before
    await desk.received(first, other)  # both are known
    assert await desk.conflicts() == []


@pytest.mark.parametrize("where", ["study", "series", "patient"])
async def test_promoted_bytes_go_where_they_say(desk: House, where: str) -> None:
    first = a_data_set()
    beside = a_data_set(
        StudyInstanceUID=first.StudyInstanceUID, SeriesInstanceUID=first.SeriesInstanceUID
    )
    changes = {
        "study": {"StudyInstanceUID": new_uid()},
        "series": {"SeriesInstanceUID": new_uid()},
        "patient": {"PatientID": "OTHER"},
    }[where]
    given = {
        "StudyInstanceUID": first.StudyInstanceUID,
        "SeriesInstanceUID": first.SeriesInstanceUID,
        "SOPInstanceUID": first.SOPInstanceUID,
    }
    await desk.received(first, beside, a_data_set(**(given | changes)))
    (conflict,) = await desk.conflicts()
    assert conflict["kind"] == "instance"
    assert await desk.decide(conflict["id"], "promote") == ("DONE", "")
    await desk.require_agreement()
    kinds = {"study": ["series"], "series": [], "patient": ["patient"]}[where]
    assert [row["kind"] for row in await desk.conflicts()] == kinds
    assert await desk.decide(conflict["id"], "promote") == ("DONE", "")
    await desk.require_agreement()
    assert await desk.conflicts() == []  # there is nothing left that disagrees


@pytest.mark.parametrize("action", ["merge", "split", "keep"])
@pytest.mark.parametrize("kind", ["series", "modality"])
async def test_a_series_that_disagrees(desk: House, kind: str, action: str) -> None:
    shared = {"SeriesInstanceUID": new_uid(), "StudyInstanceUID": new_uid()}
    changes = {"series": {"StudyInstanceUID": new_uid()}, "modality": {"Modality": "MR"}}[kind]
    await desk.received(*(a_data_set(**shared) for _ in range(2)))
    await desk.received(*(a_data_set(**(shared | changes)) for _ in range(3)))
    await desk.require_agreement()
    (conflict,) = await desk.conflicts()
    assert conflict["kind"] == kind
    assert await desk.decide(conflict["id"], action) == ("DONE", "")
    await desk.require_agreement()
    assert await desk.conflicts() == []
    assert len(await desk.found(Level.SERIES)) == (1 if action == "merge" else 2)


@pytest.mark.req("STO-03")
async def test_what_is_discarded_goes_in_time_and_comes_back_when_it_is_sent_again(
    desk: House,
) -> None:
    first = a_data_set(InstanceNumber=1)
    other = a_data_set(InstanceNumber=2, StudyInstanceUID=first.StudyInstanceUID)
    other.SeriesInstanceUID, other.SOPInstanceUID = first.SeriesInstanceUID, first.SOPInstanceUID
    await desk.received(first)
    await desk.received(other)
    (conflict,) = await desk.conflicts()
    assert await desk.decide(conflict["id"], "discard", reason="twice the same") == ("DONE", "")
    file = desk.bench.directory / conflict["object_key"]
    assert not await desk.upkeep.remove_one()
    assert await desk.purge() == 1
    assert not file.exists()
    assert not await desk.upkeep.remove_one()
    why = await desk.decide(conflict["id"], "promote")
    assert why == ("FAILED", "promote: a conflict that is discarded does not take this")
    await desk.require_agreement()
    await desk.received(other)
    (again,) = await desk.conflicts()
    assert (again["id"], again["removed_at"]) == (conflict["id"], None)
    assert await desk.decide(conflict["id"], "promote") == ("DONE", "")
    await desk.require_agreement()


async def test_one_decision_at_a_time_and_only_about_what_was_seen(desk: House) -> None:
    await two_patients(desk)
    (conflict,) = await desk.conflicts()
    number = conflict["id"]
    first, second = desk.command(number, "merge"), desk.command(number, "split")
    for command in (first, first, second):
        await desk.commands.handle(command)
    await desk.commands.handle(first.model_copy(update={"id": second.id[::-1]}))  # the same job
    assert await desk.work() == 1
    rows = await desk.bench.prepared.fetch("SELECT id, state FROM index.resolution ORDER BY state")
    assert [tuple(row) for row in rows] == [(first.job_id, "DONE"), (second.job_id, "FAILED")]
    late = await desk.decide(number, "keep")
    assert late == ("FAILED", "keep: a conflict that is merged does not take this")
    (original, *_) = await desk.conflicts("kind = 'correction'")
    why = await desk.decide(original["id"], "promote", version=original["version"] + 1)
    assert why == ("FAILED", "it has been changed meanwhile")
    await desk.require_agreement()


@pytest.mark.req("MET-08")
async def test_conflicts_of_an_earlier_release_can_be_acted_on(desk: House) -> None:
    first = a_data_set(InstanceNumber=1, PatientName="First^Name")
    given = {
        name: getattr(first, name)
        for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    }
    others = [a_data_set(**given, InstanceNumber=number) for number in (2, 3, 4)]
    await desk.received(first, *others)
    fetch = desk.bench.prepared.fetch
    await fetch(
        "UPDATE index.conflict SET header = NULL, phi_key = NULL, data_set_offset = NULL,"
        " head_sha256 = NULL, attributes = DEFAULT, kind = DEFAULT, state = DEFAULT"
    )
    one, two, gone = await desk.conflicts()
    (desk.bench.directory / gone["object_key"]).rename(desk.bench.directory / ".gone")
    await desk.upkeep.fill_in()
    shown = await desk.reader.conflict(one["id"])
    assert shown is not None
    assert shown.other is not None
    assert shown.other.attributes["00200013"]["Value"] == [2]
    assert (await desk.conflicts("header IS NULL"))[0]["id"] == gone["id"]
    why = await desk.decide(gone["id"], "promote")
    assert why == ("FAILED", "an object is missing: darkroom verify")
    (desk.bench.directory / ".gone").rename(desk.bench.directory / gone["object_key"])
    for conflict in (one, two, gone):
        assert await desk.decide(conflict["id"], "promote") == ("DONE", "")
        await desk.require_agreement()
    (found,) = await desk.found()
    assert found.instance.instance_number == 4


async def test_an_object_that_was_altered_is_not_promoted(desk: House) -> None:
    first = a_data_set(InstanceNumber=1)
    other = a_data_set(InstanceNumber=2, StudyInstanceUID=first.StudyInstanceUID)
    other.SeriesInstanceUID, other.SOPInstanceUID = first.SeriesInstanceUID, first.SOPInstanceUID
    await desk.received(first, other)
    (conflict,) = await desk.conflicts()
    file = desk.bench.directory / conflict["object_key"]
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    why = await desk.decide(conflict["id"], "promote")
    assert why == ("FAILED", "an object is not as it was received: darkroom verify")
    file.write_bytes(content)
    assert await desk.decide(conflict["id"], "promote") == ("DONE", "")
    await desk.require_agreement()


async def test_a_text_that_cannot_be_said_fails_the_job_and_leaves_all_as_it_was(
    desk: House,
) -> None:
    shared = {"StudyInstanceUID": new_uid(), "SeriesInstanceUID": new_uid()}
    name = "\u5c71\u7530^\u592a\u90ce"
    await desk.received(
        a_data_set(**shared, SpecificCharacterSet="ISO_IR 192", PatientName=name, PatientID="1"),
        a_data_set(
            **shared,
            SpecificCharacterSet="ISO_IR 100",
            PatientName="M\u00fcller^J\u00fcrgen",
            PatientID="2",
        ),
    )
    (conflict,) = await desk.conflicts()
    why = await desk.decide(conflict["id"], "merge")
    assert why == ("FAILED", "a text has no form in the character set of an object")
    await desk.require_agreement()
    assert [row["state"] for row in await desk.conflicts("true")] == ["open"]
    assert await desk.decide(conflict["id"], "split") == ("DONE", "")
    await desk.require_agreement()
