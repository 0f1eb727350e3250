"""The receipt that is read from a file of ours: in any pieces, whole or released as it is."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest

from darkroom_common.dicom.limits import NO_LIMITS, ReadLimits
from darkroom_common.dicom.part10 import HEAD_LIMIT, FileMeta, decode_head, encode_head
from darkroom_common.dicom.walk import Unreadable
from darkroom_common.objects.receipt import Receipt, ReceiptReader
from tests.support.builders import CT, a_data_set, encode

EXPLICIT = "1.2.840.10008.1.2.1"
RECEIPT = "0" * 31 + "1"
NOW = datetime(2026, 1, 31, tzinfo=UTC)
WHOLE = a_data_set(
    SOPInstanceUID="1.2.3",
    StudyInstanceUID="1.2.4",
    SeriesInstanceUID="1.2.5",
    PixelData=bytes(3 * HEAD_LIMIT),
)
DATA = encode(WHOLE)
SMALL = encode(a_data_set(SOPInstanceUID="1.2.3", StudyInstanceUID="1.2.4"))


def a_head(**changes: Any) -> bytes:
    given: dict[str, Any] = {
        "sop_class_uid": CT,
        "sop_instance_uid": "1.2.3",
        "transfer_syntax_uid": EXPLICIT,
        "calling_ae_title": "SCANNER",
        "called_ae_title": "DARKROOM",
    }
    return encode_head(FileMeta(**(given | changes)))


def read(file: bytes, piece: int, limits: ReadLimits = NO_LIMITS) -> Receipt:
    reader = ReceiptReader(limits)
    for at in range(0, len(file), piece):
        reader.feed(file[at : at + piece])
    return reader.finish(receipt_id=RECEIPT, received_at=NOW)


@pytest.mark.parametrize("piece", [100, 4097, HEAD_LIMIT - 1, HEAD_LIMIT, HEAD_LIMIT + 1, 1 << 20])
@pytest.mark.parametrize("data", [DATA, SMALL], ids=["large", "small"])
def test_a_receipt_says_all_that_the_file_says_whatever_its_pieces(data: bytes, piece: int) -> None:
    head = a_head(source="stow")
    found = read(head + data, piece)
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert (found.size, found.data_set_offset) == (len(data), len(head))
    assert (found.id, found.received_at, found.source) == (RECEIPT, NOW, "stow")
    assert (found.calling_ae_title, found.called_ae_title) == ("SCANNER", "DARKROOM")
    assert found.transfer_syntax_uid == EXPLICIT
    assert found.identity.sop_instance_uid == "1.2.3"
    assert found.identity.study_instance_uid == "1.2.4"
    assert found.identity.flags == ()


def test_what_is_stored_says_the_same_as_the_receipt() -> None:
    receipt = read(a_head() + DATA, 1 << 16)
    item = receipt.stored("a/key.dcm")
    assert item.model_dump(exclude={"traceparent", "flags"}) == {
        "receipt": RECEIPT,
        "study_instance_uid": "1.2.4",
        "series_instance_uid": "1.2.5",
        "sop_instance_uid": "1.2.3",
        "sop_class_uid": CT,
        "transfer_syntax_uid": EXPLICIT,
        "object_key": "a/key.dcm",
        "sha256": hashlib.sha256(DATA).hexdigest(),
        "size": len(DATA),
        "data_set_offset": receipt.data_set_offset,
        "source": "dimse",
        "calling_ae_title": "SCANNER",
        "called_ae_title": "DARKROOM",
        "received_at": NOW,
        "replicated": False,
    }


FEW = ReadLimits(elements=12)
"""More elements than these are taken for no data set any more; the identity stands before them."""


@pytest.mark.parametrize("piece", [4096, 1 << 20])
def test_what_was_released_as_it_is_need_not_be_whole_and_all_its_bytes_count(piece: int) -> None:
    file = a_head(as_it_is=True) + DATA
    found = read(file, piece, FEW)
    assert (found.sha256, found.size) == (hashlib.sha256(DATA).hexdigest(), len(DATA))
    assert found.identity.sop_instance_uid == "1.2.3"
    assert found.identity.flags == ("released-as-it-is",)


def test_what_was_not_released_is_refused_at_the_byte_that_breaks_it() -> None:
    reader = ReceiptReader(FEW)
    file = a_head() + DATA
    reader.feed(file[: HEAD_LIMIT - 1])  # nothing is read before there is a whole head
    with pytest.raises(Unreadable, match="too-many-elements"):
        reader.feed(file[HEAD_LIMIT - 1 : HEAD_LIMIT])


@pytest.mark.parametrize("released", [False, True])
def test_a_file_that_ends_too_early_is_whole_only_when_it_was_released(released: bool) -> None:
    file = a_head(as_it_is=released) + DATA[:-10]
    if released:
        assert read(file, 1000).size == len(DATA) - 10
    else:
        with pytest.raises(Unreadable, match="truncated"):
            read(file, 1000)


@pytest.mark.parametrize(
    ("cut", "code"),
    [(131, "no-prefix"), (143, "truncated"), (144, "truncated"), (300, "truncated")],
)
def test_a_head_that_is_cut_is_told(cut: int, code: str) -> None:
    head = a_head()
    assert cut < len(head)
    with pytest.raises(Unreadable, match=code):
        decode_head(head[:cut])
    assert decode_head(head)[1] == len(head)
