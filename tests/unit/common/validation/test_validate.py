"""What is found in objects that are made wrong in one way, and what is told of it."""

import io
import struct
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Final

import pydicom
import pytest
from pydicom._uid_dict import UID_dictionary
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from darkroom_common.dicom.walk import Unreadable
from darkroom_common.validation.findings import Finding, Kind, Report, Severity
from darkroom_common.validation.table import the_table
from darkroom_common.validation.validate import validate
from tests.support.real_files import REAL_FILES

CT: Final = "CT_small.dcm"
SEGMENTATION: Final = "liver.dcm"
REPORT: Final = "test-SR.dcm"
SECRET: Final = "SECRETNAME"


def path_of(name: str) -> Path:
    return next(path for path in REAL_FILES if path.name == name)


def sample(name: str) -> Dataset:
    return pydicom.dcmread(path_of(name))


def report_of(data_set: Dataset) -> Report:
    file = io.BytesIO()
    data_set.save_as(file)
    return validate(file)


def found(data_set: Dataset, keyword: str) -> list[Finding]:
    return [one for one in report_of(data_set).findings if one.to_json()["keyword"] == keyword]


def changed(name: str, change: Callable[[Dataset], object]) -> Dataset:
    data_set = sample(name)
    change(data_set)
    return data_set


def test_a_valid_object_has_no_findings() -> None:
    report = report_of(sample(CT))
    assert report.iod == "CT Image"
    assert report.findings == []
    assert {"Patient", "General Series", "CT Image", "Image Pixel"} <= set(report.modules)
    assert report.unchecked


@pytest.mark.parametrize(
    ("name", "change", "keyword", "kind"),
    [
        (CT, lambda ds: ds.pop("PatientID"), "PatientID", Kind.MISSING),
        (CT, lambda ds: ds.pop("PixelData"), "PixelData", Kind.MISSING),
        (CT, lambda ds: setattr(ds, "SOPInstanceUID", ""), "SOPInstanceUID", Kind.EMPTY),
        (CT, lambda ds: setattr(ds, "PatientSex", "X"), "PatientSex", Kind.VALUE),
        (CT, lambda ds: setattr(ds, "ImageType", ["NEW", "PRIMARY"]), "ImageType", Kind.VALUE),
        (CT, lambda ds: setattr(ds, "HighBit", 3), "HighBit", Kind.PIXELS),
        (CT, lambda ds: setattr(ds, "BitsStored", 17), "BitsStored", Kind.PIXELS),
        (CT, lambda ds: setattr(ds, "Rows", 127), "PixelData", Kind.PIXELS),
        (CT, lambda ds: setattr(ds, "SamplesPerPixel", 3), "SamplesPerPixel", Kind.PIXELS),
        (CT, lambda ds: setattr(ds, "NumberOfFrames", 2), "NumberOfFrames", Kind.VALUE),
        (CT, lambda ds: setattr(ds, "PixelSpacing", [0, 1]), "PixelSpacing", Kind.GEOMETRY),
        (
            CT,
            lambda ds: setattr(ds, "ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
            "ImageOrientationPatient",
            Kind.GEOMETRY,
        ),
        (
            CT,
            lambda ds: setattr(ds, "FrameOfReferenceUID", ds.StudyInstanceUID),
            "FrameOfReferenceUID",
            Kind.CONSISTENCY,
        ),
        (
            CT,
            lambda ds: setattr(ds, "PatientIdentityRemoved", "YES"),
            "DeidentificationMethod",
            Kind.MISSING,
        ),
        (
            SEGMENTATION,
            lambda ds: setattr(ds, "NumberOfFrames", 9),
            "PerFrameFunctionalGroupsSequence",
            Kind.CONSISTENCY,
        ),
        (
            SEGMENTATION,
            lambda ds: ds.PerFrameFunctionalGroupsSequence[1].pop("FrameContentSequence"),
            "FrameContentSequence",
            Kind.MISSING,
        ),
        (
            SEGMENTATION,
            lambda ds: [
                frame.pop("SegmentIdentificationSequence")
                for frame in ds.PerFrameFunctionalGroupsSequence
            ],
            "SegmentIdentificationSequence",
            Kind.MISSING,
        ),
        (
            REPORT,
            lambda ds: ds.ContentSequence[0].pop("RelationshipType"),
            "RelationshipType",
            Kind.MISSING,
        ),
        (
            REPORT,
            lambda ds: setattr(ds, "CompletionFlag", "PARTIAL"),
            "VerificationFlag",
            Kind.CONSISTENCY,
        ),
    ],
)
def test_what_is_wrong_is_found(
    name: str, change: Callable[[Dataset], object], keyword: str, kind: Kind
) -> None:
    before = {one.kind for one in found(sample(name), keyword)}
    assert kind not in before
    now = [one for one in found(changed(name, change), keyword) if one.kind is kind]
    assert now
    assert all(one.severity is Severity.ERROR and one.section for one in now)


@pytest.mark.parametrize(
    ("vr", "value", "kind"),
    [
        ("CS", b"lower ", Kind.FORMAT),
        ("CS", b"ABCDEFGHIJKLMNOPQR", Kind.LENGTH),
        ("DA", b"2026.1.1", Kind.FORMAT),
        ("DA", b"20260230", Kind.FORMAT),
        ("TM", b"2561", Kind.FORMAT),
        ("DT", b"20261301", Kind.FORMAT),
        ("AS", b"45 Y", Kind.FORMAT),
        ("DS", b"1,5 ", Kind.FORMAT),
        ("IS", b"1.0 ", Kind.FORMAT),
        ("UI", b"1.02.3", Kind.FORMAT),
        ("UI", b"3.1.25", Kind.FORMAT),
        ("UI", b"1.40.3", Kind.FORMAT),
        ("UI", b"1.2.3 ", Kind.FORMAT),
        ("SH", b"A\x07", Kind.REPERTOIRE),
        ("LO", b"\xe4\xf6", Kind.REPERTOIRE),
        ("SH", b"A long text of SH", Kind.LENGTH),
        ("PN", b"A^B^C^D^E^F ", Kind.FORMAT),
        ("US", b"\x01\x00\x02", Kind.LENGTH),
    ],
)
def test_values_are_held_against_their_vr(vr: str, value: bytes, kind: Kind) -> None:
    """In a private element, of which no dictionary knows anything."""
    file = io.BytesIO()
    data_set = sample(CT)
    del data_set[0x7FE00010:]
    del data_set.SpecificCharacterSet
    data_set.save_as(file)
    head = struct.pack("<HH2sH", 0x7FE1, 0x1001, vr.encode(), len(value))
    creator = struct.pack("<HH2sH", 0x7FE1, 0x0010, b"LO", 4) + b"TEST"
    report = validate(io.BytesIO(file.getvalue() + creator + head + value))
    found_here = [one for one in report.findings if one.tag == 0x7FE11001]
    assert kind in {one.kind for one in found_here}, found_here


def test_nothing_that_is_told_is_a_value() -> None:
    data_set = sample(CT)
    data_set.PatientName = SECRET + "^" * 6
    data_set.PatientSex = SECRET
    data_set.StudyDate = SECRET
    data_set.StudyInstanceUID = SECRET
    data_set.BodyPartExamined = SECRET.lower()
    data_set.add_new(0x00111010, "LO", SECRET * 9)
    report = report_of(data_set)
    assert len(report.findings) > 5
    assert SECRET.lower() not in str(report.to_json()).lower()


def test_the_same_thing_in_many_items_is_one_finding() -> None:
    data_set = sample(SEGMENTATION)
    for frame in data_set.PerFrameFunctionalGroupsSequence:
        frame.FrameContentSequence[0].StackID = "x" * 40
    (one,) = [one for one in found(data_set, "StackID") if one.kind is Kind.LENGTH]
    assert one.count == len(data_set.PerFrameFunctionalGroupsSequence)
    assert one.path == ("PerFrameFunctionalGroupsSequence[1]", "FrameContentSequence[1]")


def test_a_code_has_one_of_its_three_values() -> None:
    data_set = sample(CT)
    data_set.ProcedureCodeSequence = Sequence([Dataset()])
    data_set.ProcedureCodeSequence[0].CodeMeaning = "Something"
    assert [one.kind for one in found(data_set, "CodeValue")] == [Kind.MISSING]


def test_an_object_of_no_known_class_is_checked_as_far_as_that_goes() -> None:
    data_set = sample(CT)
    data_set.SOPClassUID = data_set.file_meta.MediaStorageSOPClassUID = UID("1.2.3.4")
    data_set.HighBit = 3
    report = report_of(data_set)
    assert report.iod is None
    assert {one.kind for one in report.findings} == {Kind.PIXELS}
    assert any("SOP class" in one for one in report.unchecked)


def test_what_is_no_object_is_refused() -> None:
    for data in (b"", b"nothing", b"\0" * 200, b"%PDF-1.7 and so on" * 20):
        with pytest.raises(Unreadable):
            validate(io.BytesIO(data))


def test_a_cut_object_is_told_to_be_cut() -> None:
    whole = path_of(CT).read_bytes()
    report = validate(io.BytesIO(whole[:20_000]))
    assert Kind.STRUCTURE in {one.kind for one in report.findings}


def test_a_valid_image_takes_milliseconds() -> None:
    whole = path_of(CT).read_bytes()
    taken = []
    for _ in range(20):
        began = time.perf_counter()
        validate(io.BytesIO(whole))
        taken.append(time.perf_counter() - began)
    assert median(taken) < 0.1  # measured: 6 ms


def test_the_table_has_the_storage_classes_that_pydicom_knows() -> None:
    known = [
        uid
        for uid, row in UID_dictionary.items()
        if "Storage" in row[0] and row[1] == "SOP Class" and ".5.1.4.1.1." in uid and not row[3]
    ]
    there = [uid for uid in known if the_table().iod(uid) is not None]
    assert len(known) > 150
    assert len(there) > 0.9 * len(known), sorted(set(known) - set(there))
