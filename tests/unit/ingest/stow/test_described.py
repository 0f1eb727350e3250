"""Metadata and bulk data become objects; compressed pixels go under the label that they have."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.encaps import generate_frames
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from darkroom_ingest.stow import described as described_module
from darkroom_ingest.stow.described import MOST_DATA_SETS
from tests.support.builders import a_data_set, new_uid
from tests.support.stow import BOUNDARY, Part, a_body
from tests.unit.ingest.stow.bodies import Taking
from tests.unit.ingest.stow.test_encoding import XML, decoded

JSON, OCTETS = "application/dicom+json", "application/octet-stream"
KIND = f'multipart/related; type="{JSON}"; boundary={BOUNDARY}'
THERE = "http://there/bulk/1"
PIXELS = ("00280002", "00280004", "00280006", "00280010", "00280011", "00280100", "00280101")


@pytest.fixture
def taking(tmp_path: Path) -> Iterator[Taking]:
    made = Taking(tmp_path)
    yield made
    made.spool.close()


def described(**changes: Any) -> dict[str, Any]:
    """Metadata whose pixels are elsewhere."""
    said: dict[str, Any] = a_data_set(**changes).to_json_dict()
    said["7FE00010"] = {"vr": "OW", "BulkDataURI": THERE}
    return said


def as_part(*data_sets: Mapping[str, Any]) -> Part:
    return Part(json.dumps(data_sets).encode(), JSON)


def bulk(content: bytes, kind: str = OCTETS, location: str = THERE) -> Part:
    return Part(content, kind, {"Content-Location": location})


def uid(said: Mapping[str, Any]) -> str:
    return str(said["00080018"]["Value"][0])


@pytest.mark.parametrize("size", [1, 100, 100_000])
def test_native_pixels_come_to_their_place(taking: Taking, size: int) -> None:
    said = described(PatientName="Müller^Jörg")
    outcome = taking.take(a_body([as_part(said), bulk(b"\x01\x02\x03")]), KIND, size)
    assert [(one.sop_instance_uid, one.failure) for one in outcome.items] == [(uid(said), 0)]
    syntax, data = taking.kept(uid(said))
    made = decoded(data)
    assert syntax == "1.2.840.10008.1.2.1"
    assert made.PixelData == b"\x01\x02\x03\x00"
    assert str(made.PatientName) == "Müller^Jörg"
    assert made.Rows == 2


def test_many_objects_and_bulk_data_that_come_first_or_are_shared(taking: Taking) -> None:
    sets = [described() for _ in range(3)]
    body = a_body([bulk(b"ab"), as_part(*sets[:2]), as_part(sets[2])])
    outcome = taking.take(body, KIND)
    assert [one.failure for one in outcome.items] == [0, 0, 0xC000]  # the third came too late
    whole = json.loads(json.dumps(sets[2]))
    whole["7FE00010"] = {"vr": "OW", "InlineBinary": "YWI="}
    assert taking.take(json.dumps(whole).encode(), JSON).items[0].failure == 0
    for one in sets:
        assert decoded(taking.kept(uid(one))[1]).PixelData == b"ab"


def test_an_object_of_xml(taking: Taking) -> None:
    study = new_uid()
    more = "".join(
        f'<DicomAttribute tag="{tag}" vr="UI"><Value number="1">{value}</Value></DicomAttribute>'
        for tag, value in (
            ("00080016", "1.2.840.10008.5.1.4.1.1.2"),
            ("0020000D", study),
            ("0020000E", new_uid()),
        )
    )
    text = XML.replace(b"</NativeDicomModel>", more.encode() + b"</NativeDicomModel>")
    parts = [Part(text, "application/dicom+xml"), bulk(b"abcd", location="there")]
    outcome = taking.take(a_body(parts), KIND.replace("+json", "+xml"))
    assert [one.failure for one in outcome.items] == [0]
    made = decoded(taking.kept("1.2.3")[1])
    assert (made.StudyInstanceUID, made.PixelData) == (study, b"abcd")


SAMPLES = [
    ("JPEG2000.dcm", "image/jp2", "1.2.840.10008.1.2.4.91"),
    ("JPGLosslessP14SV1_1s_1f_8b.dcm", "image/jpeg", JPEGLosslessSV1),
    ("SC_rgb_jpeg_dcmtk.dcm", "image/jpeg", JPEGBaseline8Bit),
    ("MR_small_jpeg_ls_lossless.dcm", "image/jls", JPEGLSLossless),
    ("MR_small_jp2klossless.dcm", "image/jp2", JPEG2000Lossless),
    ("MR_small_RLE.dcm", "image/dicom-rle", RLELossless),
]


@pytest.mark.parametrize(("name", "kind", "syntax"), SAMPLES, ids=[one[0] for one in SAMPLES])
@pytest.mark.parametrize("bare", [False, True])
def test_code_streams_say_what_they_are(
    taking: Taking, name: str, kind: str, syntax: str, bare: bool
) -> None:
    before = pydicom.dcmread(str(pydicom.data.get_testdata_file(name)))
    frames = list(generate_frames(before.PixelData, number_of_frames=1))
    said = before.to_json_dict(suppress_invalid_tags=True)
    said["7FE00010"] = {"vr": "OB", "BulkDataURI": THERE}
    if bare and kind != "image/dicom-rle":  # what the code stream says by itself
        said = {tag: one for tag, one in said.items() if tag not in PIXELS}
    outcome = taking.take(a_body([as_part(said), bulk(frames[0], kind)]), KIND)
    assert [(one.code, one.failure) for one in outcome.items] == [("", 0)]
    stored, data = taking.kept(str(before.SOPInstanceUID))
    assert stored == syntax
    made = decoded(data)
    assert list(generate_frames(made.PixelData, number_of_frames=1)) == frames
    for keyword in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated"):
        assert getattr(made, keyword) == getattr(before, keyword), keyword


def test_frames_are_parts_in_the_order_of_their_numbers(taking: Taking) -> None:
    said = described(NumberOfFrames=3)
    rle = f"{OCTETS}; transfer-syntax={RLELossless}"
    parts = [bulk(bytes([n]) * 3, rle, f"{THERE}/frames/{n}") for n in (2, 1, 3)]
    assert [one.failure for one in taking.take(a_body([as_part(said), *parts]), KIND).items] == [0]
    syntax, data = taking.kept(uid(said))
    frames = list(generate_frames(decoded(data).PixelData, number_of_frames=3))
    assert (syntax, frames) == (RLELossless, [bytes([n]) * 3 + b"\0" for n in (1, 2, 3)])


def test_the_box_around_a_code_stream_is_taken_off(taking: Taking) -> None:
    before = pydicom.dcmread(str(pydicom.data.get_testdata_file("MR_small_jp2klossless.dcm")))
    (stream,) = generate_frames(before.PixelData, number_of_frames=1)
    boxes = b"\x00\x00\x00\x0cjP  \r\n\x87\n" + b"\x00\x00\x00\x08ftyp"
    boxed = boxes + (len(stream) + 8).to_bytes(4, "big") + b"jp2c" + stream
    said = described()
    outcome = taking.take(a_body([as_part(said), bulk(boxed, "image/jp2")]), KIND)
    assert outcome.items[0].failure == 0
    (found,) = generate_frames(decoded(taking.kept(uid(said))[1]).PixelData, number_of_frames=1)
    assert found.startswith(stream.rstrip(b"\0"))


@pytest.mark.parametrize(
    ("part", "failure"),
    [
        (bulk(b"\x89PNG", "image/png"), 0xC122),
        (bulk(b"\xff\xd8", f"image/jpeg; transfer-syntax={RLELossless}"), 0xC122),
        (bulk(b"\xff\x4f\xff\x51" + bytes(200), "image/jpeg"), 0),
        (bulk(b"", "image/jpeg"), 0xC000),
        (bulk(b"x", location="elsewhere"), 0xC000),
    ],
)
def test_bulk_data_that_do_not_fit(taking: Taking, part: Part, failure: int) -> None:
    said = described()
    outcome = taking.take(a_body([as_part(said), part]), KIND)
    mine = [one for one in outcome.items if one.sop_instance_uid == uid(said)]
    assert [one.failure for one in mine] == [failure]
    assert bool(taking.receipts) == (failure == 0)


def test_one_bad_data_set_loses_no_good_one(taking: Taking) -> None:
    good, bad = described(), {"00100010": {"vr": "??"}}
    parts = [as_part(bad, good, {"00080016": {"vr": "UI"}}), Part(b"{", JSON), bulk(b"ab")]
    outcome = taking.take(a_body(parts), KIND)
    stored = [one.sop_instance_uid for one in outcome.items if not one.failure]
    assert stored == [uid(good)]
    assert sorted(one.code for one in outcome.items if one.failure) == [
        "bad-json",
        "sop-class",
        "unknown-vr",
    ]


def test_metadata_beyond_the_memory_that_there_is(taking: Taking) -> None:
    long = described() | {"00204000": {"vr": "LT", "Value": ["x" * (5 << 20)]}}
    outcome = taking.take(a_body([as_part(long)]), KIND)
    assert [one.failure for one in outcome.items] == [0xA700]
    assert taking.receipts == []


def test_ten_thousand_data_sets_are_taken_one_by_one_and_no_more(taking: Taking) -> None:
    empty = Part(b"[" + b"{}," * (MOST_DATA_SETS - 1) + b"{}]", JSON)
    outcome = taking.take(a_body([empty, as_part(described())]), KIND, 65536)
    codes = Counter(one.code for one in outcome.items)
    assert codes == {"sop-class": MOST_DATA_SETS, "many-data-sets": 1}
    assert taking.receipts == []


def test_objects_that_share_bulk_data_are_made_when_all_of_theirs_have_come(taking: Taking) -> None:
    path = str(pydicom.data.get_testdata_file("MR_small_RLE.dcm"))
    (stream,) = generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1)
    one, two, three = described(), described(NumberOfFrames=2), described(NumberOfFrames=3)
    frames = [bulk(stream, "image/dicom-rle") for _ in range(2)]
    outcome = taking.take(a_body([as_part(three, one, two), *frames]), KIND)
    assert {item.sop_instance_uid for item in outcome.items if not item.failure} >= {
        uid(one),
        uid(two),
    }


def test_bulk_data_are_as_many_as_may_be_and_no_more(
    taking: Taking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(described_module, "MOST_BULK", 2)
    sets = [described(), described(), described()]
    for number, one in enumerate(sets):
        one["7FE00010"] = {"vr": "OW", "BulkDataURI": f"http://there/{number}"}
    parts = [bulk(b"ab", location=f"http://there/{number}") for number in range(3)]
    outcome = taking.take(a_body([as_part(*sets), *parts]), KIND)
    assert [one.sop_instance_uid for one in outcome.items if not one.failure] == [
        uid(sets[0]),
        uid(sets[1]),
    ]
    assert sorted(one.code for one in outcome.items if one.failure) == [
        "bad-bulk-data",
        "bulk-data-missing",
    ]


def test_bulk_data_say_where_they_belong(taking: Taking) -> None:
    parts = [Part(b"ab", OCTETS), Part(b"ab", "no type", {"Content-Location": THERE})]
    outcome = taking.take(a_body([as_part(described()), *parts]), KIND)
    assert sorted(one.code for one in outcome.items) == [
        "bad-bulk-data",
        "bulk-data-missing",
        "no-location",
    ]
    assert taking.receipts == []


@pytest.mark.parametrize("number", ["0", "-3", "many", None])
def test_a_number_of_frames_that_is_none_is_one(taking: Taking, number: str | None) -> None:
    path = str(pydicom.data.get_testdata_file("MR_small_RLE.dcm"))
    (stream,) = generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1)
    said = described()
    said["00280008"] = {"vr": "IS", "Value": [number]} if number else {"vr": "IS"}
    assert described_module._count(number) == 1
    taking.take(a_body([as_part(said), bulk(stream, "image/dicom-rle")]), KIND)
    assert described_module._count("7") == 7
