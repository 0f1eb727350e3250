"""What the index keeps of a header, whatever the header is like."""

import io
import json
import struct
from datetime import date, time
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from darkroom_common.dicom.identity import read_identity
from darkroom_common.dicom.json_values import texts
from darkroom_common.dicom.part10 import FileMeta, encode_head
from darkroom_common.dicom.stored import stored_file
from darkroom_common.dicom.walk import Unreadable
from darkroom_common.postgres.phi import BlindIndex
from darkroom_metadata.indexing.extract import extract, parse_date, parse_time
from darkroom_metadata.indexing.worker import read_header
from tests.support.builders import CT, a_data_set, a_stored_item, encode
from tests.support.headers import header_in, read_one

BLIND = BlindIndex(b"k" * 32)
OTHER_BLIND = BlindIndex(b"o" * 32)
EXPLICIT = "1.2.840.10008.1.2.1"
FILES = Path(pydicom.__file__).parent / "data"


def header_from(data: bytes, syntax: str = EXPLICIT) -> dict[str, dict[str, object]]:
    return header_in(encode_head(FileMeta(CT, "1.2", syntax)) + data)


def header_of_set(**attributes: str) -> dict[str, dict[str, object]]:
    return header_from(encode(a_data_set(**attributes)))


def test_columns_and_protected_parts() -> None:
    found = extract(header_from(encode(a_data_set())), study_instance_uid="1.2", blind=BLIND)
    assert found.study_date == date(2024, 1, 31)
    assert found.study_time == time(10, 15)
    assert (found.modality, found.series_number, found.instance_number) == ("CT", 3, 7)
    assert (found.rows, found.columns, found.bits_allocated) == (2, 2, 8)
    study = json.loads(found.study.json)
    assert study["n"]["PatientName"] == "planted^name"
    assert study["j"]["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Planted^Name"}]}
    assert BLIND.exact("PatientID", "planted-1") in found.study.tokens
    assert "PatientName" not in json.loads(found.series.json)["n"]
    assert json.loads(found.header)["7FE00010"] == {"vr": "OW", "BulkDataURI": "bulkdata/7FE00010"}


def test_bulk_data_in_a_sequence_is_referred_to_by_its_path() -> None:
    inner = Dataset()
    inner.add_new(0x00420011, "OB", bytes(5000))
    outer = a_data_set()
    outer.add_new(0x00420099, "SQ", [Dataset(), inner])
    header = header_from(encode(outer))
    items = header["00420099"]["Value"]
    assert isinstance(items, list)
    assert items[1]["00420011"]["BulkDataURI"] == "bulkdata/00420099/1/00420011"


def test_long_values_are_not_read_and_long_sequences_are(tmp_path: Path) -> None:
    items = []
    for number in range(3000):
        item = Dataset()
        item.ReferencedSOPInstanceUID = f"1.2.3.4.5.6.7.8.9.{number}"
        items.append(item)
    data_set = a_data_set(ReferencedImageSequence=items, PixelData=bytes(3 << 20))
    path = tmp_path / "object.dcm"
    path.write_bytes(encode_head(FileMeta(CT, "1.2", EXPLICIT)) + encode(data_set))
    reads: list[int] = []

    class Counting(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            found = super().read(size)
            reads.append(len(found))
            return found

    with Counting(path) as file, stored_file(file) as (stored, _):
        header, flags = read_header(stored)
    assert flags == ()
    assert len(header["00081140"]["Value"]) == 3000
    assert header["7FE00010"]["BulkDataURI"] == "bulkdata/7FE00010"
    assert sum(reads) < 1 << 20


def test_values_that_are_not_what_they_say_are_kept_as_text() -> None:
    raw = encode(a_data_set())
    broken = raw.replace(b"IS\x02\x003 ", b"IS\x02\x00x!")
    assert broken != raw
    header = header_from(broken)
    assert header["00200011"]["Value"] == ["x!"]
    assert extract(header, study_instance_uid="1.2", blind=BLIND).series_number is None


def test_nul_and_lone_surrogates_never_reach_the_database() -> None:
    header = header_from(encode(a_data_set(StudyDescription="a\x00b")))
    text = extract(header, study_instance_uid="1.2", blind=BLIND).study.json
    assert "\\u0000" not in text
    assert "ab" in text


def test_without_a_patient_id_the_study_stands_for_the_patient() -> None:
    nobody: dict[str, dict[str, object]] = {}
    one = extract(nobody, study_instance_uid="1.2", blind=BLIND)
    same = extract(nobody, study_instance_uid="1.2", blind=BLIND)
    other = extract(nobody, study_instance_uid="1.3", blind=BLIND)
    assert one.patient_key == same.patient_key != other.patient_key


@pytest.mark.parametrize(
    "path", sorted((FILES / "charset_files").glob("chr*.dcm")), ids=lambda path: path.stem
)
def test_every_character_set_becomes_utf8(path: Path) -> None:
    header = header_in(path.read_bytes())
    with pydicom.dcmread(path, force=True) as data_set:
        expected = str(data_set.get("PatientName", ""))
    assert texts(header.get("00100010")) == ([expected] if expected else [])
    if "00080005" in header:
        assert header["00080005"]["Value"] == ["ISO_IR 192"]
    extract(header, study_instance_uid="1.2", blind=BLIND)


NOT_OURS = {"ExplVR_BigEndNoMeta", "ExplVR_LitEndNoMeta", "no_meta", "no_meta_group_length"} | {
    "rtstruct"
}
"""Without a head, or with one as we write none."""


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "path", sorted((FILES / "test_files").glob("*.dcm")), ids=lambda path: path.stem
)
def test_every_real_file_gives_json_or_says_that_it_cannot(path: Path) -> None:
    try:
        header = header_in(path.read_bytes())
    except Exception as error:  # noqa: BLE001 - the indexer flags it; a crash of the process it is not
        assert path.stem in NOT_OURS, repr(error)
        return
    found = extract(header, study_instance_uid="1.2", blind=BLIND)
    json.loads(found.header)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20240131", date(2024, 1, 31)),
        ("2024.01.31", date(2024, 1, 31)),
        ("20241331", None),
        ("", None),
        ("2024", None),
    ],
)
def test_dates(text: str, expected: date | None) -> None:
    assert parse_date(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("101500", time(10, 15)),
        ("10", time(10)),
        ("1015", time(10, 15)),
        ("10:15:30", time(10, 15, 30)),
        ("101530.25", time(10, 15, 30, 250000)),
        ("235960", time(23, 59, 59)),
        ("250000", None),
        ("x", None),
    ],
)
def test_times(text: str, expected: time | None) -> None:
    assert parse_time(text) == expected


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm"]
)
def test_a_stored_object_is_read_where_its_message_says(name: str) -> None:
    content = (FILES / "test_files" / name).read_bytes()
    offset = 144 + int.from_bytes(content[140:144], "little")
    event = a_stored_item(
        data_set_offset=offset,
        size=len(content) - offset,
        transfer_syntax_uid=str(pydicom.dcmread(io.BytesIO(content)).file_meta.TransferSyntaxUID),
    )
    found = read_one(event, content, BLIND)
    assert json.loads(found.header) == header_in(content)
    assert found.flags == ()


def test_what_is_remembered_of_a_series_changes_with_it() -> None:
    one = extract(header_of_set(PatientID="A"), study_instance_uid="1.2", blind=BLIND)
    same = extract(header_of_set(PatientID="A"), study_instance_uid="1.2", blind=BLIND)
    other = extract(header_of_set(PatientID="B"), study_instance_uid="1.2", blind=BLIND)
    stranger = extract(header_of_set(PatientID="A"), study_instance_uid="1.2", blind=OTHER_BLIND)
    assert one.patient == same.patient
    assert one.patient.tokens != other.patient.tokens
    assert one.patient.tokens != stranger.patient.tokens
    assert json.loads(one.patient.json)["j"]["00100020"]["Value"] == ["A"]
    assert json.loads(one.patient.json)["n"]["PatientID"] == "a"
    long = extract(header_of_set(PatientComments="x" * 9000), study_instance_uid="1", blind=BLIND)
    assert len(json.loads(long.patient.json)["j"]["00104000"]["Value"][0]) == 9000


@pytest.mark.parametrize("depth", [63, 64, 65, 300, 10_000])
def test_sequences_nested_however_deep_are_indexed(depth: int) -> None:
    """Receiving takes those within the limit; earlier releases have taken any."""
    heads = [
        struct.pack("<HH2sHLHHL", 0x0040, 0x0275, b"SQ", 0, 20 * n + 8, 0xFFFE, 0xE000, 20 * n)
        for n in reversed(range(depth))
    ]
    one = a_data_set()
    del one.PixelData
    data = encode(one) + b"".join(heads)
    if depth > 64:
        with pytest.raises(Unreadable, match="nested-too-deep"):
            read_identity(data, EXPLICIT)
    else:
        assert read_identity(data, EXPLICIT).sop_instance_uid == one.SOPInstanceUID
    found = extract(header_from(data), study_instance_uid="1.2", blind=BLIND)
    assert found.rows == 2
    assert found.header.count('"00400275":') == min(depth, 64)


@pytest.mark.parametrize(
    ("tag", "most"), [("00280010", 2**31 - 1), ("00280008", 2**31 - 1), ("00200013", 2**63 - 1)]
)
def test_a_number_that_no_column_holds_is_left_out(tag: str, most: int) -> None:
    for number in (most, most + 1):
        header = {tag: {"vr": "IS", "Value": [number]}}
        found = extract(header, study_instance_uid="1.2", blind=BLIND, flags=())
        kept = {found.rows, found.number_of_frames, found.instance_number} - {None, 1}
        assert kept == ({number} if number == most else set())
