"""The fast reader of headers says what the slow one says, or that it is not for it."""

import contextlib
import io
import struct
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from darkroom_common.dicom import headers as header
from darkroom_common.dicom.headers import Unusual, read_json
from darkroom_common.dicom.json_values import JsonDataset
from tests.support.builders import a_data_set
from tests.support.headers import header_in
from tests.support.real_files import REAL_FILES

pytestmark = pytest.mark.filterwarnings("ignore")
LITTLE = {"1.2.840.10008.1.2": True}
NOT_LITTLE = {"1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"}


def fast(data_set: bytes, *, implicit: bool) -> JsonDataset:
    return read_json(lambda at, count: data_set[at : at + count], len(data_set), implicit=implicit)


def whole_files() -> Iterator[tuple[Path, bytes, int, str]]:
    for path in REAL_FILES:
        content = path.read_bytes()
        if content[128:132] != b"DICM":
            continue
        try:
            syntax = str(pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID)
        except Exception:  # noqa: BLE001, S112 - broken on purpose: not what this test is about
            continue
        (length,) = struct.unpack_from("<L", content, 140)
        if content[132:136] == b"\x02\x00\x00\x00" and syntax not in NOT_LITTLE:
            yield path, content, 144 + length, syntax


def test_every_real_file_reads_as_the_slow_reader_reads_it() -> None:
    read, unusual = 0, []
    for path, content, offset, syntax in whole_files():
        try:
            found = fast(content[offset:], implicit=LITTLE.get(syntax, False))
        except Unusual:
            unusual.append(path.name)
            continue
        assert found == header_in(content), path.name
        read += 1
    assert read > 3 * len(unusual), sorted(unusual)
    assert read > 80


def written(dataset: Dataset, *, implicit: bool) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta = meta
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


TEXT = st.text(st.characters(codec="latin-1", exclude_characters="\x00\x1b"), max_size=20)


@settings(max_examples=150, deadline=None)
@given(
    implicit=st.booleans(),
    name=TEXT,
    description=TEXT,
    comment=TEXT,
    code=st.text("ABC \\", max_size=12),
    numbers=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
    decimals=st.lists(st.floats(-1e9, 1e9), max_size=4),
    item=TEXT,
)
def test_any_ordinary_data_set_reads_as_the_slow_reader_reads_it(
    *,
    implicit: bool,
    name: str,
    description: str,
    comment: str,
    code: str,
    numbers: list[int],
    decimals: list[float],
    item: str,
) -> None:
    nested = Dataset()
    nested.ScheduledProcedureStepID = item
    nested.RequestedProcedureDescription = description
    dataset = a_data_set()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName = name
    dataset.SeriesDescription = description
    dataset.ImageComments = comment
    dataset.ImageType = code
    dataset.InstanceNumber = "7"
    dataset.add_new(0x00201208, "IS", [str(n) for n in numbers])
    dataset.PixelSpacing = [f"{d:.8g}" for d in decimals]
    dataset.RequestAttributesSequence = [nested, Dataset()]
    dataset.RedPaletteColorLookupTableDescriptor = [256, 0, 16]
    dataset.SmallestImagePixelValue = 3
    dataset.add_new(0x00090010, "LO", "A CREATOR")
    dataset.add_new(0x00091001, "UN", b"abc ")
    content = written(dataset, implicit=implicit)
    (length,) = struct.unpack_from("<L", content, 140)
    try:
        found = fast(content[144 + length :], implicit=implicit)
    except Unusual:
        return
    assert found == header_in(content)


@pytest.mark.parametrize("implicit", [True, False])
def test_an_ordinary_image_is_not_unusual(implicit: bool) -> None:
    content = written(a_data_set(), implicit=implicit)
    (length,) = struct.unpack_from("<L", content, 140)
    assert fast(content[144 + length :], implicit=implicit) == header_in(content)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=300), implicit=st.booleans())
def test_any_bytes_are_read_or_unusual(*, data: bytes, implicit: bool) -> None:
    with contextlib.suppress(Unusual):
        fast(data, implicit=implicit)


def test_a_mutated_image_reads_as_the_slow_reader_reads_it_or_is_unusual() -> None:
    content = written(a_data_set(), implicit=False)
    (length,) = struct.unpack_from("<L", content, 140)
    start = 144 + length
    same = 0
    for at in range(start, len(content)):
        for value in (0, 0x5C, 0xFF, content[at] ^ 1):
            changed = content[:at] + bytes((value,)) + content[at + 1 :]
            try:
                found = fast(changed[start:], implicit=False)
            except Unusual:
                continue
            assert found == header_in(changed), (at, value)
            same += 1
    assert same > 100


def test_pixels_in_fragments_are_passed_over() -> None:
    dataset = a_data_set()
    del dataset.PixelData
    plain = written(dataset, implicit=False)
    (length,) = struct.unpack_from("<L", plain, 140)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 4) + b"abcd"
    pixels = struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + item * 3
    ended = plain[144 + length :] + pixels + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    found = fast(ended, implicit=False)
    assert found["7FE00010"] == {"vr": "OB", "BulkDataURI": "bulkdata/7FE00010"}
    padding = struct.pack("<HH2sHL", 0xFFFC, 0xFFFC, b"OB", 0, 4) + bytes(4)
    assert fast(ended + padding, implicit=False)["FFFCFFFC"]["vr"] == "OB"
    with pytest.raises(Unusual):
        fast(ended[:-8], implicit=False)


def test_a_header_that_is_too_long_is_unusual() -> None:
    dataset = a_data_set()
    dataset.add_new(0x00420011, "OB", bytes(header.BEGINNING))
    content = written(dataset, implicit=False)
    (length,) = struct.unpack_from("<L", content, 140)
    with pytest.raises(Unusual):
        fast(content[144 + length :], implicit=False)
