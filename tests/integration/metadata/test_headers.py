"""Whole headers in the index, object by object, as pydicom reads them: for every syntax."""

import base64
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from darkroom_common.dicom.heads import DEFLATED
from darkroom_common.dicom.json_values import INLINE_LIMIT, JsonDataset
from darkroom_common.dicom.part10 import decode_head
from darkroom_common.index.fields import SERIES_JSON, STUDY_JSON
from darkroom_common.messages.events import StoredItem
from tests.integration.metadata.test_indexer import KEY, Bench, indexing
from tests.support.builders import a_data_set, a_stored_item, new_uid
from tests.support.database import Prepared
from tests.support.real_files import REAL_FILES

pytestmark = pytest.mark.filterwarnings("ignore")
NATIVE = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
ENCAPSULATED = tuple(
    uid for uid in AllTransferSyntaxes if uid.is_encapsulated and uid not in DEFLATED
)
FEW = ("CT_small.dcm", "US1_UNCI.dcm", "chrX1.dcm")
BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
FILES = (
    "CT_small.dcm",
    "MR_small.dcm",
    "rtplan.dcm",
    "reportsi.dcm",
    "liver.dcm",
    "US1_UNCI.dcm",
    "SC_rgb_rle.dcm",
    "test-SR.dcm",
    "waveform_ecg.dcm",
    "color3d_jpeg_baseline.dcm",
    "examples_overlay.dcm",
    "chrH31.dcm",
    "chrGerm.dcm",
    "chrX1.dcm",
)
BIG_AND_DEFLATED = ("expb", "big", "dfl", "eflate")


@pytest.fixture
async def bench(superuser_url: str, tmp_path: Path) -> AsyncIterator[Bench]:
    prepared = await Prepared.make(superuser_url, "metadata")
    async with indexing(prepared, tmp_path) as made:
        yield made


def synthetic() -> Dataset:
    """Return a data set with every kind of value, nested and long ones among them."""
    made = a_data_set(SpecificCharacterSet="ISO_IR 192", PatientName="Müller^Jürgen=山田")
    made.add_new(0x00280034, "IS", [1, -1])
    made.add_new(0x00189087, "FD", 1.5)
    made.add_new(0x00189219, "SS", -7)
    made.add_new(0x00280106, "US", 65535)
    made.add_new(0x00080040, "US", 3)
    made.add_new(0x00720026, "AT", [0x00100010, 0x00200037])
    made.add_new(0x00640009, "OF", b"\x00\x00\x80\x3f" * 4)
    made.add_new(0x0040A124, "UI", new_uid())
    made.add_new(0x00080000 | 0x0119, "UC", "a long text")
    made.add_new(0x00420011, "OB", bytes(5000))
    inner = Dataset()
    inner.add_new(0x0008103E, "LO", "within")
    inner.add_new(0x00280106, "US", 258)
    long = []
    for number in range(1500):
        item = Dataset()
        item.add_new(0x00081150, "UI", "1.2.840.10008.5.1.4.1.1.2")
        item.add_new(0x00081155, "UI", f"2.25.{number}{'1' * 30}")
        long.append(item)
    inner.add_new(0x00081140, "SQ", [Dataset()])
    made.add_new(0x00081140, "SQ", long)  # longer than what is deferred
    made.add_new(0x00400275, "SQ", [inner])
    made.add_new(0x00091000 | 0x10, "LO", "A PRIVATE CREATOR")
    made.add_new(0x00091010, "US", 513)
    return made


def objects() -> list[tuple[str, Dataset]]:
    by_name = {path.name: path for path in REAL_FILES}
    missing = [name for name in FILES if name not in by_name]
    assert not missing
    return [
        *((name, dcmread(by_name[name], force=True)) for name in FILES),
        ("synthetic", synthetic()),
    ]


def written(source: Dataset, syntax: pydicom.uid.UID) -> bytes:
    data_set = Dataset()
    for element in source:
        data_set.add(element)
    data_set.SOPClassUID = source.get("SOPClassUID", "1.2.840.10008.5.1.4.1.1.7")
    data_set.SOPInstanceUID = new_uid()
    if "PixelData" in data_set:
        data_set.PixelData = encapsulate([b"\x01\x02" * 400]) if syntax.is_encapsulated else b"12"
        data_set["PixelData"].VR = "OB" if syntax.is_encapsulated else "OW"
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    data_set.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


async def stored(bench: Bench, content: bytes) -> StoredItem:
    """Put a file into the store as the relay does; return the event that says so."""
    meta, offset = decode_head(content)
    spooled = bench.directory.parent / "spooled"
    spooled.mkdir(exist_ok=True)
    event = a_stored_item(
        sop_class_uid=meta.sop_class_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        size=len(content) - offset,
        data_set_offset=offset,
    )
    source = spooled / event.receipt
    source.write_bytes(content)
    await bench.indexer.reading.store.put_files([(event.object_key, source)])
    return event


def assert_same(found: JsonDataset, data_set: Dataset, where: str) -> int:
    """Compare all attributes, at all levels; return how many there were."""
    elements = {
        f"{e.tag.group:04X}{e.tag.element:04X}": e
        for e in data_set
        if e.tag.group != 2 and e.tag.element
    }
    assert list(found) == sorted(elements), where
    count = len(elements)
    for tag, element in elements.items():
        have, place = found[tag], f"{where}/{tag}"
        if element.VR == "SQ":
            items = have.get("Value", [])
            assert len(items) == len(element.value), place
            for number, item in enumerate(element.value):
                count += assert_same(items[number], item, f"{place}/{number}")
        elif element.VR in BINARY or " or " in element.VR:
            assert_same_bytes(have, element, place)
        elif tag != "00080005":
            expected = json.loads(json.dumps(element.to_json_dict(None, INLINE_LIMIT)))
            assert with_nulls(expected) == have, place
    return count


def assert_same_bytes(have: dict[str, Any], element: DataElement, place: str) -> None:
    if isinstance(element.value, bytes) and element.value and "BulkDataURI" not in have:
        assert base64.b64decode(have["InlineBinary"]) == element.value, place
    else:
        assert ("BulkDataURI" in have) == bool(element.value), place
    assert have["vr"] in element.VR, place


def with_nulls(element: dict[str, Any]) -> dict[str, Any]:
    """Return an element of pydicom's JSON with null for empty values (PS3.18 F.2.5)."""
    values = element.get("Value", [])
    return (
        {**element, "Value": [None if one == "" else one for one in values]} if values else element
    )


async def headers(bench: Bench) -> dict[str, tuple[JsonDataset, JsonDataset, JsonDataset]]:
    rows = await bench.prepared.fetch(
        "SELECT i.sop_instance_uid, pgp_sym_decrypt(i.header, $1) AS header,"
        " pgp_sym_decrypt(e.phi, $1)::json->'j' AS series,"
        " pgp_sym_decrypt(s.phi, $1)::json->'j' AS study FROM index.instance i"
        " JOIN index.series e ON e.id = i.series_id JOIN index.study s ON s.id = e.study_id"
        " WHERE NOT 'header-unreadable' = ANY(i.flags)",
        KEY,
    )
    return {
        row["sop_instance_uid"]: tuple(
            json.loads(row[name]) for name in ("header", "study", "series")
        )
        for row in rows
    }


async def assert_indexed_whole(bench: Bench, contents: dict[str, bytes]) -> int:
    """Index objects and compare every row with what pydicom reads; return the attributes."""
    events = {name: await stored(bench, content) for name, content in contents.items()}
    await bench.index(*events.values())
    rows = await headers(bench)
    count = 0
    for name, event in events.items():
        header, study, series = rows[event.sop_instance_uid]
        count += assert_same(header, dcmread(io.BytesIO(contents[name]), force=True), name)
        assert study == {f.tag: header[f.tag] for f in STUDY_JSON if f.tag in header}, name
        assert series == {f.tag: header[f.tag] for f in SERIES_JSON if f.tag in header}, name
    return count


@pytest.mark.req("MET-01")
@pytest.mark.parametrize("syntax", NATIVE, ids=lambda uid: uid.name)
async def test_the_whole_header_is_indexed(bench: Bench, syntax: pydicom.uid.UID) -> None:
    contents = {name: written(source, syntax) for name, source in objects()}
    assert await assert_indexed_whole(bench, contents) > 4000


@pytest.mark.req("MET-01")
async def test_the_whole_header_of_every_encapsulated_syntax_is_indexed(bench: Bench) -> None:
    sources = [one for name, one in objects() if name in FEW]
    contents = {
        f"{syntax}/{number}": written(source, syntax)
        for syntax in ENCAPSULATED
        for number, source in enumerate(sources)
    }
    assert len(contents) > 100
    await assert_indexed_whole(bench, contents)


@pytest.mark.req("MET-01")
async def test_real_big_endian_and_deflated_files_are_indexed_whole(bench: Bench) -> None:
    contents = {}
    for path in REAL_FILES:
        content = path.read_bytes()
        if not any(part in path.name for part in BIG_AND_DEFLATED) or content[128:132] != b"DICM":
            continue
        syntax = dcmread(io.BytesIO(content)).file_meta.TransferSyntaxUID
        if syntax in (ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian):
            contents[path.name] = content
    assert len(contents) > 5
    await assert_indexed_whole(bench, contents)
