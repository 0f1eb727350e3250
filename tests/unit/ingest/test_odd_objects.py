"""What a mainstream PACS takes is taken: kept as it came, flagged, counted, and read again."""

import hashlib
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from darkroom_common.dicom.heads import DEFLATED, Encoding
from darkroom_common.dicom.stored import stored_file
from darkroom_common.objects.receipt import Receipt
from darkroom_common.objects.spool import Spool
from darkroom_ingest.receiving.acceptance import Offer
from darkroom_ingest.receiving.digest import ASIDE_FROM
from darkroom_ingest.receiving.receive import Receiver
from tests.support.builders import CT, a_data_set, encode

IMPLICIT, EXPLICIT, BIG, DEFLATE = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
)
pytestmark = pytest.mark.req("ING-15")
LONGEST = "1." + "2" * 126


class Door:
    """Receives objects into a spool of its own."""

    def __init__(self, root: Path) -> None:
        self.spool = Spool(root)
        self.receipts: list[Receipt] = []
        self._receiver = Receiver(self.spool, 0, 1 << 30, self.receipts.append)

    def send(self, data: bytes, uid: str, syntax: str = EXPLICIT, size: int = 16_000) -> int:
        reception = self._receiver.begin(Offer(CT, uid, syntax, "SCANNER", "DARKROOM"))
        view = memoryview(data)
        for start in range(0, len(view), size):
            reception.write([view[start : start + size]])
        return reception.finish()

    def kept(self) -> bytes:
        """The data set of the last object, as its receipt says where it is."""
        receipt = self.receipts[-1]
        content = self.spool.path(receipt.id).read_bytes()
        assert len(content) == receipt.data_set_offset + receipt.size
        kept = content[receipt.data_set_offset :]
        assert hashlib.sha256(kept).hexdigest() == receipt.sha256
        again = self.spool.read_receipt(receipt.id)
        assert (again.sha256, again.size) == (receipt.sha256, receipt.size)
        assert (again.identity, again.data_set_offset) == (
            receipt.identity,
            receipt.data_set_offset,
        )
        return kept

    @property
    def flags(self) -> tuple[str, ...]:
        return self.receipts[-1].identity.flags


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


def counted(flag: str) -> float:
    return REGISTRY.get_sample_value("darkroom_odd_objects_total", {"flag": flag}) or 0.0


def an_object(syntax: str = EXPLICIT, pixels: bytes = b"\0\1\2\3") -> tuple[str, bytes]:
    one = a_data_set(PixelData=pixels)
    return str(one.SOPInstanceUID), encode(one, syntax)


def odd(data: bytes, syntax: str, length: int) -> bytes:
    """The same with pixel data of an odd length, which is the last of the object."""
    order = ">" if Encoding.of(syntax).big else "<"
    even = struct.pack(f"{order}L", length + 1)
    assert data[-length - 5 : -length - 1] == even
    return data[: -length - 5] + struct.pack(f"{order}L", length) + data[-length - 1 : -1]


@pytest.mark.parametrize("length", [3, 15_999, ASIDE_FROM + 1])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_the_octet_that_pads_the_message_is_not_kept(door: Door, syntax: str, length: int) -> None:
    uid, even = an_object(syntax, bytes(range(250)) * (length // 250) + bytes(length % 250 + 1))
    data = odd(even, syntax, length)
    assert len(data) % 2 == 1
    before = counted("odd-length")
    for sent in (data, data + b"\0"):
        assert door.send(sent, uid, syntax) == 0
        assert door.kept() == data
        assert door.flags == ("odd-length",)
    assert counted("odd-length") == before + 2


def test_zeros_at_the_end_are_kept_and_told(door: Door) -> None:
    uid, data = an_object()
    for count in (2, 6, 8, 64):
        assert door.send(data + bytes(count), uid) == 0
        assert door.kept() == data + bytes(count)
        assert door.flags == ("trailing-padding",)


def test_anything_else_at_the_end_is_a_cut(door: Door) -> None:
    uid, data = an_object()
    for end in (b"\1", b"ab", b"\0\0\0\1"):
        assert door.send(data + end, uid) == 0xC000
    assert door.receipts == []


@pytest.mark.parametrize(
    ("sent", "known"),
    [
        (" 1.2.3", "1.2.3"),
        ("   1.2.3.4 ", "1.2.3.4"),
        ("1.2.840." + "1" * 57, "1.2.840." + "1" * 57),
        (LONGEST, LONGEST),
        (f" {LONGEST[:-1]}", LONGEST[:-1]),
    ],
)
def test_long_uids_and_blanks_before_them_are_taken(door: Door, sent: str, known: str) -> None:
    as_long = "9" * len(sent)  # pydicom would set blanks aside
    one = a_data_set(SOPInstanceUID=as_long, StudyInstanceUID=as_long, SeriesInstanceUID=as_long)
    data = encode(one).replace(as_long.encode(), sent.encode())
    before = counted("nonconformant-uid")
    assert door.send(data, known) == 0
    assert door.kept() == data
    identity = door.receipts[-1].identity
    uids = (identity.sop_instance_uid, identity.study_instance_uid, identity.series_instance_uid)
    assert uids == (known, known, known)
    assert door.flags == ("nonconformant-uid",)
    assert counted("nonconformant-uid") == before + 1
    stored = door.receipts[-1].stored("a/b.dcm")
    assert (stored.sop_instance_uid, stored.flags) == (known, ("nonconformant-uid",))


@pytest.mark.parametrize("uid", [LONGEST + "3", "1.2 3", "1.2/3", "1.2\\1.3"])
def test_what_can_be_no_uid_is_refused(door: Door, uid: str) -> None:
    assert door.send(encode(a_data_set(StudyInstanceUID=uid)), "1.2.3") == 0xC000


def group_2(syntax: str) -> bytes:
    value = b"1.2.840.10008.1.2.2\0"
    if syntax == IMPLICIT:
        return struct.pack("<HHL", 2, 0x10, len(value)) + value
    order = ">" if syntax == BIG else "<"
    return struct.pack(f"{order}HH2sH", 2, 0x10, b"UI", len(value)) + value


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATE])
def test_group_2_in_the_data_set_is_kept_told_and_believed_by_nobody(
    door: Door, syntax: str
) -> None:
    uid, plain = an_object(EXPLICIT if syntax in DEFLATED else syntax)
    data = group_2(syntax) + plain
    if syntax in DEFLATED:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = packer.compress(data) + packer.flush()
    assert door.send(data, uid, syntax) == 0
    assert door.kept() == data
    assert door.flags == ("file-meta-element",)
    with (
        door.spool.path(door.receipts[-1].id).open("rb") as file,
        stored_file(file) as (stored, meta),
    ):
        assert meta.transfer_syntax_uid == syntax
        assert stored.data_set().data_set.PatientID == "PLANTED-1"


def implicit_item(value: bytes) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(value)) + value


def implicit_sequence(value: bytes) -> bytes:
    return struct.pack("<HHL", 0x0040, 0x0275, len(value)) + value


def explicit_sequence(value: bytes) -> bytes:
    return struct.pack("<HH2sHL", 0x0040, 0x0275, b"SQ", 0, len(value)) + value


def nested(sequence: Callable[[bytes], bytes], depth: int) -> bytes:
    """Heads alone are enough: each length is that of all within it."""
    least = len(sequence(implicit_item(b"")))
    heads = (
        sequence(implicit_item(b""))[: least - 12]
        + struct.pack("<L", least * n + 8)
        + struct.pack("<HHL", 0xFFFE, 0xE000, least * n)
        for n in reversed(range(depth))
    )
    return b"".join(heads)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, DEFLATE])
@pytest.mark.parametrize("kind", ["items", "levels"])
def test_limits_hold_for_defined_lengths(door: Door, syntax: str, kind: str) -> None:
    sequence = implicit_sequence if syntax == IMPLICIT else explicit_sequence
    uid, data = an_object(IMPLICIT if syntax == IMPLICIT else EXPLICIT)
    few, many = (
        (sequence(implicit_item(b"") * n) for n in (1000, 600_000))
        if kind == "items"
        else (nested(sequence, n) for n in (64, 20_000))
    )

    def packed(content: bytes) -> bytes:
        if syntax not in DEFLATED:
            return content
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return packer.compress(content) + packer.flush()

    start = len(data) - (12 if syntax == IMPLICIT else 16)
    assert door.send(packed(data[:start] + few + data[start:]), uid, syntax) == 0
    assert door.send(packed(data[:start] + many + data[start:]), uid, syntax) == 0xC000
    assert len(door.receipts) == 1
