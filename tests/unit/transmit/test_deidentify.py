"""De-identification: nothing of the patient is left, and what belongs together stays together."""

import io
import re
import subprocess
import warnings
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.sequence import Sequence

from darkroom_common.dicom.charset import TextReader
from darkroom_common.dicom.part10 import FileMeta, encode_head
from darkroom_common.dicom.text_elements import put_text
from darkroom_common.pixels.faults import Unconvertible
from darkroom_common.specs.deidentification import OPTIONS, parse_profile
from darkroom_common.specs.destinations import DestinationSpec
from darkroom_common.transcoding.converted import EXPLICIT, IMPLICIT, Converted
from darkroom_transmit.conversion.deidentify import Deidentification, keyed_uid
from darkroom_transmit.conversion.exchange import destination_key
from tests.support.builders import new_uid
from tests.support.headers import header_in
from tests.support.real_files import REAL_FILES
from tests.unit.transmit.converting import WHOLE, a_file, convert_file

KEY = destination_key(b"k" * 32, "RESEARCH")
PLANTED = "Qwyzel"
pytestmark = pytest.mark.filterwarnings("ignore")


def named(name: str) -> Path:
    return next(path for path in REAL_FILES if path.name == name)


def plant(dataset: Dataset, depth: int = 0) -> None:
    """Put a name, an id, dates and free text into everything that a patient may be told from."""
    dataset.PatientName = f"{PLANTED}^Marzipania"
    dataset.PatientID = "HOSP-ZQ778899"
    dataset.OtherPatientIDs = ["HOSP-ZQ778899", "QX-4711-QX"]
    dataset.AccessionNumber = "ACC5544332"
    dataset.PatientBirthDate = "19610723"
    dataset.ReferringPhysicianName = "Referrano^Doktor"
    dataset.OperatorsName = "Operatova^Olga"
    dataset.PatientAddress = "Marzipanstrasse 12"
    dataset.PatientTelephoneNumbers = "555-0199-77"
    dataset.StudyDescription = f"CT Thorax of {PLANTED} ACC5544332"
    dataset.SeriesDescription = "axial 19610723 lung"
    dataset.StudyID = "STUDY99887"
    dataset.StudyDate = "20240229"
    dataset.StudyTime = "101112"
    dataset.InstitutionName = "Hospitalia General"
    dataset.StationName = "STATIONX1"
    dataset.Manufacturer = f"Maker for {PLANTED}"  # where nobody would look
    block = dataset.private_block(0x0099, "NOBODYS PRIVATE", create=True)
    block.add_new(1, "LO", f"{PLANTED} private")
    if depth < 2:
        item = Dataset()
        plant(item, depth + 1)
        item.add(DataElement(0x00081155, "UI", "1.2.3.4"))
        dataset.ReferencedStudySequence = Sequence([item])
        dataset.SourceImageSequence = Sequence([item])
        dataset.RequestAttributesSequence = Sequence([item])


DATES = ("StudyDate", "SeriesDate")
SECRETS = (
    PLANTED,
    "Marzipan",
    "ZQ7788",
    "QX-47",
    "ACC5544332",
    "19610723",
    "Referrano",
    "Operatova",
    "555-0199",
    "STUDY99887",
    "20240229",
    "Hospitalia",
    "STATIONX1",
    "NOBODYS",
)


def deidentified(
    path: Path, target: Path, profile: str = "basic", wanted: tuple[str, ...] = (EXPLICIT,)
) -> Converted:
    how = Deidentification(parse_profile(profile), KEY)
    return convert_file(path, target, wanted, edit=how.edit)


# pydicom cannot write one of them again with something planted: its elements are of both kinds.
PLANTABLE = [path for path in WHOLE if path.name != "SC_rgb_jpeg.dcm"]


@pytest.mark.req("TRX-13")
@pytest.mark.parametrize("path", PLANTABLE, ids=lambda path: path.name)
def test_nothing_planted_is_left_in_a_real_object(path: Path, tmp_path: Path) -> None:
    dataset = dcmread(path)
    plant(dataset)
    uids = {str(dataset[k].value) for k in ("StudyInstanceUID", "SOPInstanceUID") if k in dataset}
    dataset.file_meta.SourceApplicationEntityTitle = "STATIONX1"
    source = tmp_path / "planted.dcm"
    dataset.save_as(source)
    wanted = (str(dataset.file_meta.TransferSyntaxUID), EXPLICIT, IMPLICIT)
    profile = "basic+clean-descriptors+allow-burned-in"
    if "EncapsulatedDocument" in dataset:
        with pytest.raises(Unconvertible, match="document"):
            deidentified(source, tmp_path / "made.dcm", profile, wanted)
        return
    made = deidentified(source, tmp_path / "made.dcm", profile, wanted)
    raw = made.path.read_bytes()
    for secret in (*SECRETS, *uids):
        assert secret.encode() not in raw, secret
    after = dcmread(made.path)
    assert after.PatientIdentityRemoved == "YES"
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID
    assert not any(element.tag.is_private for element in after.iterall())


def findings(path: Path) -> set[str]:
    """The errors of dciodvfy, without the values in them."""
    told = subprocess.run(["dciodvfy", path], capture_output=True, check=False).stderr
    errors = [line for line in told.decode("latin-1").splitlines() if line.startswith("Error")]
    return {re.sub(r"[<=].*|\d+(\.\d+)+", "", error) for error in errors}


VERIFIED = (
    "CT_small.dcm",
    "MR_small.dcm",
    "693_UNCR.dcm",
    "emri_small.dcm",
    "test-SR.dcm",
    "liver.dcm",
    "examples_overlay.dcm",
    "rtplan.dcm",
    "waveform_ecg.dcm",
    "RG1_UNCR.dcm",
    "US1_UNCR.dcm",
)


@pytest.mark.parametrize("name", VERIFIED)
@pytest.mark.parametrize("profile", ["basic", "basic+retain-modified-dates+clean-descriptors"])
def test_an_object_stays_valid(name: str, profile: str, tmp_path: Path) -> None:
    plain = convert_file(named(name), tmp_path / "plain.dcm", (EXPLICIT,))
    made = deidentified(named(name), tmp_path / "made.dcm", f"{profile}+allow-burned-in")
    assert findings(made.path) - findings(plain.path) == set()


@pytest.mark.req("TRX-13")
def test_a_study_stays_one_study_in_every_job(tmp_path: Path) -> None:
    study, series, patient = new_uid(), new_uid(), "PID-0815"
    made = []
    for number in range(3):
        dataset = dcmread(named("CT_small.dcm"))
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.SOPInstanceUID, dataset.PatientID = new_uid(), patient
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        reference = Dataset()
        reference.ReferencedSOPClassUID = dataset.SOPClassUID
        reference.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
        dataset.ReferencedImageSequence = [reference]
        dataset.save_as(tmp_path / f"{number}.dcm")
        twice = [
            dcmread(deidentified(tmp_path / f"{number}.dcm", tmp_path / "made.dcm").path)
            for _ in range(2)
        ]
        assert twice[0].to_json() == twice[1].to_json()
        made.append(twice[0])
    assert {(one.StudyInstanceUID, one.SeriesInstanceUID, one.PatientID) for one in made} == {
        (keyed_uid(KEY, study), keyed_uid(KEY, series), str(made[0].PatientName))
    }
    assert len({one.SOPInstanceUID for one in made}) == 3
    for one in made:
        assert one.ReferencedImageSequence[0].ReferencedSOPInstanceUID == one.SOPInstanceUID
    other = destination_key(b"k" * 32, "ELSEWHERE")
    assert keyed_uid(other, study) != keyed_uid(KEY, study)
    assert re.fullmatch(r"2\.25\.[1-9]\d{30,38}", keyed_uid(KEY, study))


@pytest.mark.req("TRX-13")
def test_options_keep_what_they_name(tmp_path: Path) -> None:
    source = named("CT_small.dcm")
    before = dcmread(source)

    def after(profile: str) -> Any:
        return dcmread(deidentified(source, tmp_path / "made.dcm", profile).path)

    basic = after("basic")
    assert not basic.PatientSex
    assert "PatientAge" not in basic
    assert "InstitutionName" not in basic or basic.InstitutionName == "REMOVED"
    assert basic.LongitudinalTemporalInformationModified == "REMOVED"
    assert basic.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert basic.SOPInstanceUID != before.SOPInstanceUID
    assert after("basic+retain-uids").SOPInstanceUID == before.SOPInstanceUID
    kept = after("basic+retain-patient-characteristics+retain-institution-identity")
    assert (kept.PatientSex, kept.PatientAge) == (before.PatientSex, before.PatientAge)
    assert kept.InstitutionName == before.InstitutionName
    assert kept.PatientID != before.PatientID
    assert [item.CodeValue for item in kept.DeidentificationMethodCodeSequence] == [
        "113100",
        "113108",
        "113112",
    ]
    full = after("basic+retain-full-dates")
    assert (full.StudyDate, full.StudyTime) == (before.StudyDate, before.StudyTime)
    moved = after("basic+retain-modified-dates")
    assert moved.LongitudinalTemporalInformationModified == "MODIFIED"
    assert moved.StudyDate != before.StudyDate
    assert moved.StudyTime == before.StudyTime
    days = [date.fromisoformat(str(one[tag].value)) for one in (before, moved) for tag in DATES]
    assert days[0] - days[1] == days[2] - days[3]
    device = after("basic+retain-device-identity")
    assert device.StationName == before.StationName


@pytest.mark.req("TRX-13")
def test_descriptors_lose_names_and_numbers_only(tmp_path: Path) -> None:
    dataset = dcmread(named("CT_small.dcm"))
    plant(dataset)
    source = tmp_path / "planted.dcm"
    dataset.save_as(source)
    made = dcmread(deidentified(source, tmp_path / "made.dcm", "basic+clean-descriptors").path)
    assert (made.StudyDescription, made.SeriesDescription) == ("CT Thorax of", "axial lung")


@pytest.mark.req("TRX-13")
def test_safe_private_values_stay_when_they_are_to(tmp_path: Path) -> None:
    dataset = dcmread(named("CT_small.dcm"))
    for tag in [element.tag for element in dataset if element.tag.is_private]:
        del dataset[tag]
    block = dataset.private_block(0x0043, "GEMS_PARM_01", create=True)
    block.add_new(0x27, "SH", "1.375:1")
    block.add_new(0x28, "LO", "not safe")
    source = tmp_path / "private.dcm"
    dataset.save_as(source)
    made = dcmread(deidentified(source, tmp_path / "made.dcm", "basic+retain-safe-private").path)
    assert [element.value for element in made if element.tag.is_private] == [
        "GEMS_PARM_01",
        "1.375:1",
    ]


@pytest.mark.req("TRX-13")
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"BurnedInAnnotation": "YES"}, "says so"),
        ({"RecognizableVisualFeatures": "YES"}, "Visual Features"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "secondary capture"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.1"}, "ultrasound"),
        ({"Modality": "XA"}, "of modality XA"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "screen save"),
        ({"Modality": "US", "BurnedInAnnotation": "NO"}, ""),
        ({}, ""),
    ],
)
def test_pictures_that_may_show_a_name_are_refused(
    changes: dict[str, Any], why: str, tmp_path: Path
) -> None:
    dataset = dcmread(named("CT_small.dcm"))
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    source = a_file(dataset, tmp_path)
    if not why:
        assert deidentified(source, tmp_path / "made.dcm").size
        return
    with pytest.raises(Unconvertible, match=why):
        deidentified(source, tmp_path / "made.dcm")
    assert deidentified(source, tmp_path / "made.dcm", "basic+allow-burned-in").size


def test_a_profile_is_known_or_refused() -> None:
    pacs = {"ae_title": "PACS", "host": "127.0.0.1", "port": 104}
    everything = "+".join(["basic", *(name for name in OPTIONS if name != "retain-full-dates")])
    for good in ("", "basic", everything):
        assert DestinationSpec.model_validate(pacs | {"deidentify": good}).deidentify == good
    for bad in ("none", "basic+", "retain-uids", "basic+retain-full-dates+retain-modified-dates"):
        with warnings.catch_warnings(), pytest.raises(ValueError, match="deidentify"):
            DestinationSpec.model_validate(pacs | {"deidentify": bad})
    asking = pacs | {"commitment": {"enabled": True}}
    kept = DestinationSpec.model_validate(asking | {"deidentify": "basic+retain-uids"})
    assert kept.commitment.enabled
    with pytest.raises(ValueError, match="replaces"):
        DestinationSpec.model_validate(asking | {"deidentify": "basic"})


def test_characteristics_in_words_are_cleaned(tmp_path: Path) -> None:
    dataset = dcmread(named("CT_small.dcm"))
    dataset.PatientName = "Grauert^Wilhelmine"
    dataset.Allergies = "Penicillin, says Wilhelmine"
    source = tmp_path / "allergic.dcm"
    dataset.save_as(source)
    kept = deidentified(source, tmp_path / "a.dcm", "basic+retain-patient-characteristics")
    assert dcmread(kept.path).Allergies == "Penicillin, says"
    assert "Allergies" not in dcmread(deidentified(source, tmp_path / "b.dcm", "basic").path)


@pytest.mark.parametrize(
    ("declared", "name", "description", "left"),
    [
        (
            "\\ISO 2022 IR 58",
            b"Zhang^San=\x1b$)A\xd5\xc5\xc8\xfd",
            b"\x1b$)A\xd0\xd8\xb2\xbf \x1b$)A\xd5\xc5\xc8\xfd CT",
            "胸部 CT",
        ),
        ("\\ISO 2022 IR 87", b"A=\x1b$B;3ED\x1b(B", b"\x1b$B6;It\x1b(B \x1b$B;3ED\x1b(B", "胸部"),
        ("GB18030", "张三丰^王".encode("gb18030"), "乗部 张三丰 CT".encode("gb18030"), "乗部 CT"),
        ("ISO_IR 100", "Müller^J".encode("latin-1"), "Schädel MÜLLER".encode("latin-1"), "Schädel"),
        ("ISO_IR 192", "Müller".encode("latin-1"), "Kopf Müller".encode("latin-1"), "Kopf"),
    ],
)
def test_text_of_any_character_set_is_cleaned_and_stays_in_it(
    tmp_path: Path, declared: str, name: bytes, description: bytes, left: str
) -> None:
    dataset = dcmread(named("CT_small.dcm"))
    dataset.SpecificCharacterSet = declared.split("\\")
    for tag, vr, raw in ((0x00100010, "PN", name), (0x00081030, "LO", description)):
        put_text(dataset, tag, vr, raw)
    untouched = b"\xff\x1b$)Akept \x80"
    put_text(dataset, 0x00181030, "LO", untouched)
    head = tmp_path / "source.dcm"
    head.write_bytes(as_part_10(dataset))
    kept = deidentified(head, tmp_path / "a.dcm", "basic+clean-descriptors")
    raw = kept.path.read_bytes()
    told = header_in(raw)
    assert told["00081030"]["Value"] == [left]
    assert untouched in raw
    reader = TextReader()
    reader.declare(declared.encode())
    found = dcmread(io.BytesIO(raw)).get_item(0x00081030)
    assert reader.current.strict(found.value, "LO").rstrip() == left
    assert name.split(b"=")[-1] not in raw


def as_part_10(dataset: Dataset) -> bytes:
    """Write a file element by element, so that no text is decoded."""
    head = encode_head(FileMeta(dataset.SOPClassUID, dataset.SOPInstanceUID, EXPLICIT))
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    for tag in sorted(dataset.keys()):
        write_data_element(buffer, dataset.get_item(tag))
    return head + buffer.getvalue()
