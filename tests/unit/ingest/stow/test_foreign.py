"""Heads of files that others have written."""

import io

import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID

from darkroom_common.dicom.walk import Unreadable
from darkroom_ingest.stow.foreign import read_head
from tests.support.builders import CT, a_data_set, encode

EXPLICIT = "1.2.840.10008.1.2.1"
LENGTH = 12
"""Bytes of the element with the group length."""


def a_file(preamble: bytes = bytes(128)) -> tuple[bytes, bytes]:
    """A file as pydicom writes it, and its data set."""
    one = a_data_set(SOPInstanceUID="1.2.3")
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = UID(EXPLICIT)
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
    one.file_meta.MediaStorageSOPClassUID = UID(CT)
    one.file_meta.PrivateInformationCreatorUID = UID("1.2")
    one.file_meta.PrivateInformation = b"as-it-is"
    one.preamble = preamble
    buffer = io.BytesIO()
    dcmwrite(buffer, one, enforce_file_format=True)
    return buffer.getvalue(), encode(one)


def test_heads_are_read_wherever_they_are_cut() -> None:
    whole, data = a_file()
    for cut in range(len(whole) + 1):
        found = read_head(whole[:cut], whole=False)
        if found is None:
            continue
        assert cut >= len(whole) - len(data)
        assert found[:3] == (CT, "1.2.3", EXPLICIT)
        assert whole[found.offset :] == data
        assert not found.executable


@pytest.mark.parametrize(
    "change",
    [
        lambda whole: whole[:132] + whole[132 + LENGTH :],
        lambda whole: whole[:140] + b"\xff\xff\xff\x0f" + whole[144:],
        lambda whole: whole[132:],
        lambda whole: whole[132 + LENGTH :],
    ],
    ids=["no group length", "a wrong one", "no preamble", "neither"],
)
def test_heads_as_clients_write_them(change: object) -> None:
    assert callable(change)
    whole, data = a_file()
    changed = change(whole)
    found = read_head(changed, whole=True)
    assert found is not None
    assert found[:3] == (CT, "1.2.3", EXPLICIT)
    assert changed[found.offset :] == data


def test_a_preamble_may_be_a_program() -> None:
    found = read_head(a_file(b"MZ" + bytes(126))[0], whole=True)
    assert found is not None
    assert found.executable


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "no-prefix"),
        (b"no object", "no-prefix"),
        (bytes(200), "no-prefix"),
        (b"<html>" * 40, "no-prefix"),
        (a_file()[0][:200], "truncated"),
        (bytes(128) + b"DICM" + b"\x08\x00\x05\x00CS\x00\x00", "no-transfer-syntax"),
        (bytes(128) + b"DICM" + b"\x02\x00\x02\x01OB\x00\x00\xff\xff\xff\x00", "bad-head"),
        (
            a_file()[0].replace(b"1.2.840.10008.1.2.1\0", b"one that is no UID.."),
            "no-transfer-syntax",
        ),
    ],
)
def test_what_is_no_file(data: bytes, code: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read_head(data, whole=True)
    assert caught.value.code == code
