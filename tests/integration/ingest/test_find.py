"""C-FIND: what other nodes are told of the index; findscu is a witness."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pynetdicom.association import Association

from darkroom_common.index.matching import rolls
from darkroom_ingest.answering import archive
from darkroom_ingest.answering.identifier import PATIENT_ROOT, PATIENT_STUDY_ONLY, STUDY_ROOT
from darkroom_local.engines.ports import free_port
from tests.integration.ingest.asking import HOST, Asked, answering, find, identifier
from tests.integration.ingest.test_same_queries import told as counted
from tests.support.builders import a_data_set, new_uid
from tests.support.services import Services

PENDING, PARTLY, SUCCESS, CANCELLED = 0xFF00, 0xFF01, 0x0000, 0xFE00


@pytest.fixture
async def asked(services: Services, tmp_path: Path) -> AsyncIterator[Asked]:
    async with answering(services, tmp_path) as made:
        yield made


def a_few() -> list[Dataset]:
    """Three studies of two patients: CT with PET, an MR, and a CR without a date."""
    first = a_data_set(
        PatientID="P1", PatientName="Planted^Anna", AccessionNumber="AC1", StudyID="S1"
    )
    first.StudyDescription = "Chest and abdomen"
    second = a_data_set(
        PatientID="P1",
        PatientName="Planted^Anna",
        AccessionNumber="AC1",
        StudyID="S1",
        StudyInstanceUID=first.StudyInstanceUID,
        SeriesInstanceUID=new_uid(),
        Modality="PT",
        SeriesNumber=4,
    )
    second.StudyDescription = "Chest and abdomen"
    third = a_data_set(
        PatientID="P2",
        PatientName="Planted^Bernd",
        AccessionNumber="AC2",
        StudyDate="20230601",
        StudyTime="235959",
        Modality="MR",
        StudyID="S2",
    )
    fourth = a_data_set(PatientID="P2", PatientName="Planted^Bernd", Modality="CR", StudyID="S3")
    fourth.AccessionNumber, fourth.StudyDate, fourth.StudyTime = "AC3", "", ""
    return [first, second, third, fourth]


async def test_answers_have_what_was_asked_for(asked: Asked) -> None:
    """Computed attributes, unknown ones, sequences, images, patients, lists of UIDs."""
    objects = a_few()
    request = Dataset()
    request.ScheduledProcedureStepID, request.RequestedProcedureID = "STEP1", "REQ1"
    objects[0].RequestAttributesSequence = Sequence([request])
    await asked.seed.add(*objects)
    study = str(objects[0].StudyInstanceUID)

    def ask() -> None:
        with asked.association() as ours:
            wanted = identifier(
                "STUDY",
                StudyInstanceUID=f"{study}\\{objects[2].StudyInstanceUID}",
                ModalitiesInStudy="PT",
                NumberOfStudyRelatedSeries="",
                NumberOfStudyRelatedInstances="",
                SOPClassesInStudy="",
                StudyDescription="",
                PatientComments="",
            )
            status, ((pending, match),) = find(ours, wanted)
            assert (status, pending) == (SUCCESS, PENDING)
            assert match.StudyInstanceUID == study
            assert sorted(match.ModalitiesInStudy) == ["CT", "PT"]
            assert (match.NumberOfStudyRelatedSeries, match.NumberOfStudyRelatedInstances) == (2, 2)
            assert match.StudyDescription == "Chest and abdomen"
            assert "PatientComments" in match
            assert not match.PatientComments
            assert "PatientName" not in match  # nobody has asked
            assert (match.RetrieveAETitle, match.QueryRetrieveLevel) == ("DARKROOM", "STUDY")

            wanted = identifier("SERIES", StudyInstanceUID=study, NumberOfSeriesRelatedInstances="")
            step = Dataset()
            step.ScheduledProcedureStepID = "STEP1"
            wanted.RequestAttributesSequence = Sequence([step])
            _, ((_, match),) = find(ours, wanted)
            assert match.NumberOfSeriesRelatedInstances == 1
            (item,) = match.RequestAttributesSequence
            assert item.ScheduledProcedureStepID == "STEP1"
            assert len(item) == 1

            wanted = identifier("IMAGE", StudyInstanceUID=study, InstanceNumber="7", Rows="")
            wanted.SOPInstanceUID = wanted.PhotometricInterpretation = wanted.PixelData = ""
            wanted["PixelData"].VR = "OW"
            wanted.PixelData = b""
            _, found = find(ours, wanted)
            assert {m.SOPInstanceUID for _, m in found} == {o.SOPInstanceUID for o in objects[:2]}
            assert {m.PhotometricInterpretation for _, m in found} == {"MONOCHROME2"}
            assert not found[0][1].PixelData
            assert found[0][1].Rows == 2

            wanted = identifier("PATIENT", PatientName="", NumberOfPatientRelatedStudies="")
            wanted.NumberOfPatientRelatedSeries = wanted.NumberOfPatientRelatedInstances = ""
            _, found = find(ours, wanted, PATIENT_ROOT)
            patient_study = [match for _, match in find(ours, wanted, PATIENT_STUDY_ONLY)[1]]
            assert patient_study == [match for _, match in found]
            assert {
                m.PatientID: (
                    int(m.NumberOfPatientRelatedStudies),
                    int(m.NumberOfPatientRelatedSeries),
                    int(m.NumberOfPatientRelatedInstances),
                )
                for _, m in found
            } == {"P1": (1, 2, 2), "P2": (2, 2, 2)}

            # what is no key of the level, or cannot be matched, is told by the status
            wanted = identifier("STUDY", StudyInstanceUID="", SeriesDescription="x")
            assert {status for status, _ in find(ours, wanted)[1]} == {PARTLY}

    await asyncio.to_thread(ask)


async def test_who_may_ask_for_what(asked: Asked) -> None:
    """The list of senders says it; what is refused says why, and nothing else."""
    await asked.seed.add(*a_few())

    def ask() -> None:
        everything = identifier("STUDY", StudyInstanceUID="")
        people = identifier("PATIENT", PatientID="")
        with asked.association("NOBODY") as ours:
            assert find(ours, everything) == (0x0124, [])
        with asked.association("OWN") as ours:
            assert find(ours, everything) == (SUCCESS, [])
            assert find(ours, people, PATIENT_ROOT) == (SUCCESS, [])
        with asked.association("STRANGER") as ours:  # who may store
            assert find(ours, everything) == (0x0124, [])
        with asked.association() as ours:
            for wrong in (
                identifier("PATIENT", PatientID=""),  # no level of this model
                identifier("VOLUME"),
                identifier("STUDY", StudyDate="yesterday"),
                identifier("STUDY", StudyInstanceUID="1.2*"),
                identifier("STUDY", PatientName="*a*b*c*d*e*f*g*h*i*j*k*"),
                Dataset(),
            ):
                wrong.PatientSex = ""
                assert find(ours, wrong) == (0xA900, []), wrong
            assert len(find(ours, everything)[1]) == 3  # the association has lived

    await asyncio.to_thread(ask)


async def test_own_studies_alone(asked: Asked) -> None:
    """Of a study of which something came from it, a node with the rule `own` is told."""
    await asked.seed.add(*a_few())
    async with asked.seed.database.transaction() as db:
        changed = "UPDATE index.study SET calling_ae_titles = '{OWN}' WHERE study_date IS NULL"
        await db.execute(changed)

    def ask() -> None:
        with asked.association("OWN") as ours:
            assert len(find(ours, identifier("STUDY", StudyInstanceUID=""))[1]) == 1
            assert len(find(ours, identifier("SERIES", SeriesInstanceUID=""))[1]) == 1
            _, ((_, match),) = find(ours, identifier("PATIENT", PatientID=""), PATIENT_ROOT)
            assert match.PatientID == "P2"

    await asyncio.to_thread(ask)


async def test_agreed_on_beyond_the_usual(asked: Asked) -> None:
    """Names by their words and dates with times are for who has asked for that."""
    await asked.seed.add(*a_few())

    def ask() -> None:
        name = identifier("STUDY", PatientName="bern plan")
        moments = identifier("STUDY", StudyDate="20230601-20240131", StudyTime="110000-120000")
        with asked.association() as ours:
            assert find(ours, name)[1] == []
            assert find(ours, moments)[1] == []  # each by itself
        with asked.association(wants=bytes((1, 1, 1, 1, 1))) as ours:
            (item,) = ours.acceptor.sop_class_extended.items()
            assert item == (STUDY_ROOT, bytes((1, 1, 1, 0, 0)))
            assert len(find(ours, name)[1]) == 2
            assert len(find(ours, moments)[1]) == 2  # from one moment to the other

    await asyncio.to_thread(ask)


def narrow(ours: Association, level: str, model: str) -> None:
    """Ask for names of which all may match by their tokens; what is decrypted says which do."""
    for name, count in (("Planted*", 620), ("Plan*Bernd", 310), ("*nted^A*", 310)):
        wanted = identifier(level, PatientName=name, SOPInstanceUID="")
        for _ in range(3):  # pynetdicom's user loses an answer of hundreds now and then
            status, found = find(ours, wanted, model)
            assert status == SUCCESS
            assert len(found) == len(counted(found, level)) <= count
            if len(found) == count:
                break
        assert len(found) == count


async def test_pages_and_cancel(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Matches of many pages come once each; a C-CANCEL ends them."""
    many = [
        a_data_set(
            StudyDate=f"2020{1 + n % 12:02}11" if n % 7 else "",
            PatientID=f"N{n}",
            PatientName=f"Planted^{'Anna' if n % 2 else 'Bernd'}",
        )
        for n in range(620)
    ]
    await asked.seed.add_headers(many)
    uids = {str(one.StudyInstanceUID) for one in many}

    def ask() -> None:
        everything = identifier("STUDY", StudyInstanceUID="")
        with asked.association() as ours:
            status, found = find(ours, everything)
            assert status == SUCCESS
            assert len(found) == len(many)
            assert counted(found, "STUDY").keys() == uids
            status, found = find(ours, identifier("PATIENT", PatientID=""), PATIENT_ROOT)
            assert len(found) == len(many)
            assert len(counted(found, "PATIENT")) == len(many)
            status, found = find(ours, identifier("SERIES", SeriesInstanceUID=""))
            assert len(found) == len(many)
            assert len(counted(found, "SERIES")) == len(many)
            for level, model in (
                ("PATIENT", PATIENT_ROOT),
                ("STUDY", STUDY_ROOT),
                ("SERIES", STUDY_ROOT),
                ("IMAGE", STUDY_ROOT),
            ):
                narrow(ours, level, model)
            # From the newest first, by a roll and without one, as of very many.
            monkeypatch.setattr(archive, "AT_ONCE", 0)
            narrow(ours, "STUDY", STUDY_ROOT)
            monkeypatch.setattr(rolls, "MOST", 100)
            narrow(ours, "STUDY", STUDY_ROOT)
            told: Iterator[tuple[Dataset, Dataset | None]] = ours.send_c_find(
                everything, STUDY_ROOT, msg_id=77
            )
            next(told)
            ours.send_c_cancel(77, query_model=STUDY_ROOT)
            assert [one.Status for one, _ in told][-1] == CANCELLED

    await asyncio.to_thread(ask)


async def test_findscu_reads_names(asked: Asked) -> None:
    """What a node asks in its character set is found, and answered so that it can read it."""
    await asked.seed.add(
        a_data_set(SpecificCharacterSet="ISO_IR 192", PatientName="Плантед^Иван", PatientID="RU"),
        a_data_set(SpecificCharacterSet="ISO_IR 192", PatientName="Plänted^Jörg", PatientID="DE"),
    )

    def ask() -> None:
        with asked.association() as ours:
            for character_set, name, answered in (
                ("ISO_IR 144", "Плантед*", "ISO_IR 144"),
                ("ISO_IR 192", "Плантед*", "ISO_IR 192"),
                ("ISO_IR 100", "Plänted*", "ISO_IR 100"),
                ("ISO_IR 144", "Planted*", "ISO_IR 100"),  # it has no such letters
            ):
                wanted = identifier("STUDY", SpecificCharacterSet=character_set, PatientName=name)
                _, ((_, match),) = find(ours, wanted)
                assert match.SpecificCharacterSet == answered
                assert str(match.PatientName).startswith(name[:2])
        command = (
            "findscu",
            "-v",
            "-S",
            "-aet",
            "ASKER",
            "-aec",
            "DARKROOM",
            HOST,
            str(asked.port),
        )
        keys = ("-k", "0008,0052=STUDY", "-k", "0010,0020=RU", "-k", "0010,0010")
        done = subprocess.run(command + keys, capture_output=True, timeout=30, check=True)
        told = (done.stdout + done.stderr).decode("latin-1")
        assert "ISO_IR 192" in told
        assert told.count("[RU]") >= 1

    await asyncio.to_thread(ask)


async def test_limits_are_told(services: Services, tmp_path: Path) -> None:
    """More matches than may be told end with 0xA700; what is told before stands."""
    async with answering(
        services, tmp_path, query_answers=2, query_relational="negotiated"
    ) as asked:
        await asked.seed.add(*a_few())

        def ask() -> None:
            with asked.association() as ours:
                status, found = find(ours, identifier("STUDY", StudyInstanceUID=""))
                assert (status, len(found)) == (0xA700, 2)
                assert find(ours, identifier("SERIES", Modality="")) == (0xA900, [])

        await asyncio.to_thread(ask)


async def test_an_index_that_is_away(services: Services, tmp_path: Path) -> None:
    """It is told as 0xA700, within the association, which goes on."""
    async with answering(
        services, tmp_path, index=f"postgresql://u@{HOST}:{free_port()}/d"
    ) as asked:

        def ask() -> None:
            with asked.association() as ours:
                assert find(ours, identifier("STUDY", StudyInstanceUID="")) == (0xA700, [])
                assert find(ours, identifier("PATIENT", PatientID=""), PATIENT_ROOT)[0] == 0xA700
                assert ours.is_established

        await asyncio.to_thread(ask)
