"""Edits of patients and studies: what is shown afterwards, what is kept, and what comes late."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from darkroom_common.index.fields import Level
from darkroom_common.jobs.lease import Claims
from darkroom_common.messages.base import new_message_id
from darkroom_common.messages.commands import EditStudies
from darkroom_common.messages.events import InstancesReplaced
from darkroom_common.seal import Seal
from darkroom_common.specs.edits import PURPOSE, Edit
from darkroom_metadata.editing.editor import Editor
from darkroom_metadata.editing.intake import EditCommands
from darkroom_metadata.editing.repository import Edits
from darkroom_metadata.reindexing.command import Reindexing
from darkroom_metadata.reindexing.run import Scope
from darkroom_metadata.reindexing.study import StudyReindexer
from darkroom_metadata.verification.judgement import Pace
from darkroom_metadata.verification.verification import Brake
from tests.integration.metadata.resolving import House, house
from tests.integration.metadata.test_indexer import KEYS
from tests.support.builders import a_data_set, new_uid


@dataclass
class Office:
    """An index with whoever edits it."""

    house: House
    commands: EditCommands

    async def ask(self, action: Any = "edit", study: str | None = None, **edit: Any) -> str:
        """Have an edit kept as a job; return its id."""
        command = EditStudies(
            job_id=new_message_id(),
            action=action,
            study_instance_uid=study,
            requested_by="olga",
            sealed=Seal(KEYS).seal(Edit(**edit).model_dump(), purpose=PURPOSE),
        )
        await self.commands.handle(command)
        return command.job_id

    async def work(self) -> None:
        claims, editor = self.commands.editor.claims, self.commands.editor
        while (attempt := await claims.claim()) is not None:
            await claims.finish(attempt, await editor.attempt(attempt))

    async def edit(self, study: str | None, action: Any = "edit", **edit: Any) -> tuple[str, str]:
        job = await self.ask(action, study, **edit)
        await self.work()
        row = (await self.rows("SELECT * FROM index.edit WHERE id = $1", job))[0]
        assert await self.rows("SELECT FROM index.edited") == []
        return row["state"], row["reason"]

    async def rows(self, sql: str, *values: object) -> list[Any]:
        return await self.house.bench.prepared.fetch(sql, *values)

    async def files(self) -> list[Dataset]:
        """What is in force, as files."""
        rows = await self.rows("SELECT object_key FROM index.instance ORDER BY sop_instance_uid")
        directory = self.house.bench.directory
        return [dcmread(directory / row["object_key"], force=True) for row in rows]


@pytest.fixture
async def office(superuser_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with house(superuser_url, tmp_path) as made:
        indexer = made.bench.indexer
        edits = Edits(indexer.outbox)
        claims = Claims(edits.table, indexer.database, new_message_id(), 20.0)
        desk = made.resolver.desk
        editor = Editor(claims, desk, KEYS, Seal(KEYS), indexer.outbox)
        yield Office(made, EditCommands(editor, edits))


RLE = "1.2.840.10008.1.2.5"
JANE = {"PatientID": "J-1", "PatientName": "Doe^Jane", "PatientSex": "F"}


def a_study(count: int = 3, **more: Any) -> tuple[str, list[Dataset]]:
    uid, series = new_uid(), new_uid()
    ids = {"StudyInstanceUID": uid, "SeriesInstanceUID": series}
    return uid, [a_data_set(**ids, **JANE, **more) for _ in range(count)]


@pytest.mark.req("MET-06")
async def test_all_that_is_shown_of_a_study_says_what_the_edit_says(office: Office) -> None:
    uid, sets = a_study(25, StudyDate="20260101", AccessionNumber="OLD")
    await office.house.received(*sets)
    before = await office.files()
    values = {
        "PatientName": "Roe^Jane",
        "PatientBirthDate": "19700203",
        "AccessionNumber": "NEW",
        "StudyDate": "20260102",
        "StudyDescription": "",
    }
    assert await office.edit(uid, values=values, reason="misheard") == ("DONE", "")
    await office.house.require_agreement()
    after = await office.files()
    assert {(str(d.PatientName), d.AccessionNumber, d.StudyDate) for d in after} == {
        ("Roe^Jane", "NEW", "20260102")
    }
    assert {d.PixelData for d in before} == {d.PixelData for d in after}
    assert len(await office.house.found(AccessionNumber="NEW", StudyDate="20260102")) == 25
    assert await office.house.found(AccessionNumber="OLD") == []
    kept = await office.house.conflicts("kind = 'correction' AND state = 'kept'")
    assert len(kept) == 25
    originals = [dcmread(office.house.bench.directory / row["object_key"]) for row in kept]
    assert {str(d.PatientName) for d in originals} == {"Doe^Jane"}
    assert await office.house.conflicts() == []
    told = [item for one in await office.house.events(InstancesReplaced) for item in one["items"]]
    assert len({item["sop_instance_uid"] for item in told}) == 25
    (study,) = await office.rows("SELECT * FROM index.study")
    assert (study["study_instance_uid"], study["revision"]) == (uid, 0)
    (change,) = await office.rows("SELECT * FROM index.study_change")
    assert (change["by"], change["study_instance_uid"]) == ("olga", uid)
    assert b"Roe" not in change["phi"]


async def test_what_comes_late_and_does_not_know_of_it_is_edited_too(office: Office) -> None:
    uid, sets = a_study(4)
    await office.house.received(*sets[:2])
    values = {"PatientID": "J-2", "PatientName": "Roe^Jane"}
    assert (await office.edit(uid, values=values))[0] == "DONE"
    await office.house.received(sets[2])  # under the old name, and the last of them again
    await office.house.received(sets[0])
    assert len(await office.rows("SELECT FROM index.study")) == 1
    await office.work()
    await office.house.require_agreement()
    assert {str(d.PatientName) for d in await office.files()} == {"Roe^Jane"}
    assert len(await office.house.found(PatientID="J-2")) == 3
    assert await office.house.conflicts() == []
    # A second edit stands beside the first.
    assert (await office.edit(uid, values={"StudyID": "S"}))[0] == "DONE"
    await office.house.received(sets[3])
    await office.work()
    assert {(d.PatientID, d.StudyID) for d in await office.files()} == {("J-2", "S")}
    states = await office.rows("SELECT action, state FROM index.edit ORDER BY created_at")
    assert [tuple(row) for row in states] == [
        ("edit", "DONE"),
        ("follow", "DONE"),
        ("edit", "DONE"),
        ("follow", "DONE"),
    ]


async def test_a_stranger_is_still_one(office: Office) -> None:
    uid, sets = a_study(1)
    await office.house.received(*sets)
    await office.edit(uid, values={"PatientName": "Roe^Jane"})
    other = a_data_set(StudyInstanceUID=uid, PatientID="X", PatientName="Other^One")
    await office.house.received(other)
    (conflict,) = await office.house.conflicts()
    assert conflict["kind"] == "patient"
    state, reason = await office.edit(uid, values={"PatientName": "Poe^Jane"})
    assert (state, "several patients" in reason) == ("FAILED", True)


async def test_objects_that_come_between_writing_and_putting_in_force(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid, sets = a_study(3)
    await office.house.received(sets[0])
    editor, late = office.commands.editor, list(sets[1:])
    write = editor._write

    async def write_and_receive(*given: Any) -> None:
        await write(*given)
        if late:
            await office.house.received(late.pop())

    monkeypatch.setattr(editor, "_write", write_and_receive)
    assert (await office.edit(uid, values={"PatientName": "Roe^Jane"}))[0] == "DONE"
    await office.work()
    await office.house.require_agreement()
    assert [str(d.PatientName) for d in await office.files()] == ["Roe^Jane"] * 3


async def test_what_cannot_be_done_changes_nothing_and_leaves_nothing(office: Office) -> None:
    uid, sets = a_study(3)
    sets[2].SpecificCharacterSet = "ISO_IR 100"
    sets[2].PatientComments = "Zoë"
    await office.house.received(*sets)
    objects = sorted(office.house.bench.directory.rglob("*.dcm"))
    state, reason = await office.edit(uid, values={"PatientName": "山田^太郎"})
    assert state == "FAILED"
    assert "character set" in reason
    assert sorted(office.house.bench.directory.rglob("*.dcm")) == objects
    assert {str(d.PatientName) for d in await office.files()} == {"Doe^Jane"}
    assert len(await office.house.found(PatientName="Doe^Jane")) == 3
    assert await office.edit(new_uid(), values={}) == ("FAILED", "there is no such study")


@pytest.mark.req("MET-06")
async def test_patients_are_merged(office: Office) -> None:
    one, first = a_study(2)
    two, second = a_study(2)
    await office.house.received(*first, *second)
    right = a_data_set(PatientID="R", PatientName="Doe^Jane Mary", PatientBirthDate="19700101")
    await office.house.received(right)
    source, target = {"patient_id": "J-1"}, {"patient_id": "R"}
    assert await office.edit(None, "merge", source=source, target=target) == ("DONE", "")
    await office.house.require_agreement()
    found = await office.house.found(Level.STUDY, PatientID="R", PatientBirthDate="19700101")
    assert {f.study.study_instance_uid for f in found} == {one, two, right.StudyInstanceUID}
    assert await office.house.found(PatientID="J-1") == []
    unknown = {"patient_id": "nobody"}
    state, reason = await office.edit(one, "move", target=unknown)
    assert (state, reason) == ("FAILED", "the index knows no such patient")


@pytest.mark.req("MET-06")
async def test_a_merge_holds_for_what_comes_later(office: Office) -> None:
    _, first = a_study(1)
    right, third = (a_data_set(PatientID=one, PatientName=f"{one}^X") for one in ("R", "T"))
    await office.house.received(*first, right, third)
    jane, other, last = ({"patient_id": one} for one in ("J-1", "R", "T"))
    assert (await office.edit(None, "merge", source=jane, target=other))[0] == "DONE"
    _, late = a_study(3)
    await office.house.received(*late[:2])
    (waits,) = await office.rows("SELECT * FROM index.edit WHERE state = 'PENDING'")
    assert (waits["action"], waits["requested_by"]) == ("merge", "olga")
    await office.work()
    await office.house.received(late[2])  # of a study that is merged already
    await office.work()
    await office.house.require_agreement()
    assert len(await office.house.found(PatientID="R")) == 5
    assert await office.house.found(PatientID="J-1") == []
    assert await office.house.conflicts() == []
    # Who is merged on takes those along who had been merged before.
    assert (await office.edit(None, "merge", source=other, target=last))[0] == "DONE"
    await office.house.received(*a_study(1)[1], a_data_set(PatientID="R", PatientName="R^X"))
    await office.work()
    assert len(await office.house.found(PatientID="T")) == 8
    assert {row["state"] for row in await office.rows("SELECT state FROM index.edit")} == {"DONE"}


@pytest.mark.parametrize("action", ["split", "move", "merge"])
async def test_a_merge_ends_when_somebody_is_to_be_the_former_patient(
    office: Office, action: str
) -> None:
    one, first = a_study(1)
    other = a_data_set(PatientID="R", PatientName="R^X")
    await office.house.received(*first, other)
    jane, right = {"patient_id": "J-1"}, {"patient_id": "R"}
    assert (await office.edit(None, "merge", source=jane, target=right))[0] == "DONE"
    match action:
        case "split":
            ended = await office.edit(one, "split", values=JANE)
        case "move":
            ended = await office.edit(one, "move", target=jane)
        case _:
            ended = await office.edit(None, "merge", source=right, target=jane)
    assert ended == ("DONE", "")
    await office.house.received(*a_study(1)[1])
    await office.work()
    assert len(await office.house.found(PatientID="J-1")) == (3 if action == "merge" else 2)
    await office.house.require_agreement()


async def test_what_is_filed_while_a_merge_ends_is_merged(office: Office) -> None:
    """The last look for studies and what is kept for later ones have no gap between them."""
    _, first = a_study(1)
    await office.house.received(*first, a_data_set(PatientID="R", PatientName="R^X"))
    jane, right = {"patient_id": "J-1"}, {"patient_id": "R"}
    editor = office.commands.editor
    await office.ask("merge", None, source=jane, target=right)
    attempt = await editor.claims.claim()
    assert attempt is not None
    end = await editor.attempt(attempt)
    await office.house.received(*a_study(1)[1])  # after its last look
    await editor.claims.finish(attempt, end)
    await office.work()
    assert len(await office.house.found(PatientID="R")) == 3


@pytest.mark.req("MET-06")
async def test_a_study_is_moved_and_split_off(office: Office) -> None:
    one, first = a_study(2)
    two, second = a_study(2)
    other = a_data_set(PatientID="O", PatientName="Other^One")
    await office.house.received(*first, *second, other)
    assert (await office.edit(one, "move", target={"patient_id": "O"}))[0] == "DONE"
    new = {"PatientID": "N", "PatientName": "New^One", "PatientSex": "O"}
    assert (await office.edit(two, "split", values=new))[0] == "DONE"
    await office.house.require_agreement()
    assert len(await office.house.found(Level.STUDY, PatientID="O")) == 2
    assert len(await office.house.found(Level.STUDY, PatientID="N")) == 1
    assert {str(d.PatientName) for d in await office.files()} == {"Other^One", "New^One"}


async def test_merging_patients_who_share_a_study_makes_one_study_of_two(office: Office) -> None:
    uid, sets = a_study(2)
    shared = a_data_set(
        StudyInstanceUID=uid,
        SeriesInstanceUID=sets[0].SeriesInstanceUID,
        PatientID="O",
        PatientName="Other^One",
    )
    await office.house.received(*sets, shared)
    assert len(await office.house.conflicts()) == 1
    source, target = {"patient_id": "O"}, {"patient_id": "J-1"}
    assert (await office.edit(None, "merge", source=source, target=target))[0] == "DONE"
    await office.house.require_agreement()
    assert len(await office.rows("SELECT FROM index.study")) == 1
    assert await office.house.conflicts() == []


def a_film(study: str, series: str, *lengths: int) -> Dataset:
    """Return an object with a frame of so many bytes for each."""
    frames = [bytes([number + 1]) * length for number, length in enumerate(lengths)]
    made = a_data_set(**JANE, NumberOfFrames=len(frames), PixelData=encapsulate(frames))
    made.StudyInstanceUID, made.SeriesInstanceUID = study, series
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    return made


async def test_frames_are_where_the_index_says_whatever_was_done(office: Office) -> None:
    """`require_agreement` compares their places with what a worker finds."""
    house, uid, series = office.house, new_uid(), new_uid()
    films = [a_film(uid, series, *lengths) for lengths in ((10, 20, 30), (8,), (50, 4))]
    films[2].SOPInstanceUID = films[0].SOPInstanceUID
    for one in films:
        await house.received(one, transfer_syntax_uid=RLE)
    (conflict,) = await house.conflicts()

    async def places() -> set[bytes]:
        await house.require_agreement()
        rows = await office.rows("SELECT frame_places FROM index.instance")
        assert all(row["frame_places"] for row in rows)
        return {row["frame_places"] for row in rows}

    known = [await places()]
    for number in (2, 3, 2):
        assert await house.decide(conflict["id"], "promote") == ("DONE", "")
        known.append(await places())
        assert {len(one) for one in known[-1]} == {8 + 4 * number, 8 + 4}
    assert (await office.edit(uid, values={"PatientName": "Roe^" + "J" * 40}))[0] == "DONE"
    known.append(await places())
    assert known[-1].isdisjoint(known[-2])
    for wrong in (None, b"\0" * 12):
        await office.rows("UPDATE index.instance SET frame_places = $1", wrong)
        indexer = house.bench.indexer
        studies = StudyReindexer(indexer.database, indexer.reading, KEYS, Brake(Pace(0)))
        run = await Reindexing(indexer.database, studies, lambda _: None).run(Scope(every=True))
        assert run.changed == 2
        assert await places() == known[-1]
    new = {"PatientID": "N", "PatientName": "New^One", "PatientSex": "O"}
    assert (await office.edit(uid, "split", values=new))[0] == "DONE"
    assert (await places()).isdisjoint(known[-1])


@pytest.mark.parametrize("kill_at", range(6))
async def test_an_edit_goes_on_after_a_kill(
    office: Office, kill_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work ends without a word at each of its transactions in turn."""
    uid, sets = a_study(45)
    await office.house.received(*sets)
    job = await office.ask("edit", uid, values={"PatientName": "Roe^Jane"})
    editor, claims, left = office.commands.editor, office.commands.editor.claims, [kill_at]
    hold = editor._hold

    async def killed(db: Any, attempt: Any) -> None:
        await hold(db, attempt)
        if left[0] == 0:
            left[0] = -1
            raise asyncio.CancelledError
        left[0] -= 1

    monkeypatch.setattr(editor, "_hold", killed)
    attempt = await claims.claim()
    assert attempt is not None
    try:
        ending = await editor.attempt(attempt)
    except asyncio.CancelledError:
        names = {str(d.PatientName) for d in await office.files()}
        assert len(names) == 1  # all of it or nothing
        claims.held.clear()
        await office.rows("UPDATE index.edit SET lease_until = now() - interval '1 s'")
        await office.work()
    else:
        await claims.finish(attempt, ending)
    (row,) = await office.rows("SELECT state, instances FROM index.edit WHERE id = $1", job)
    assert tuple(row) == ("DONE", 45)
    await office.house.require_agreement()
    assert {str(d.PatientName) for d in await office.files()} == {"Roe^Jane"}
    assert len(await office.house.conflicts("kind = 'correction'")) == 45
