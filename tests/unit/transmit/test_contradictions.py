"""What a device says against the dictionary reaches a peer of implicit VR in a form it can read."""

import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from darkroom_common.dicom.part10 import FileMeta, encode_head
from darkroom_common.transcoding.converted import EXPLICIT, IMPLICIT, Converted
from darkroom_common.transcoding.representation import written_as
from darkroom_common.transcoding.transcode import convert
from darkroom_transmit.sending.outcome import Outcome, Verdict, classify, without
from tests.support.builders import CT, a_data_set, encode

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.req("ING-15", "TRX-05")]
LONG = (b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC")


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    if vr in LONG:
        return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def item(value: bytes) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(value)) + value


def an_object(*odd: bytes, nested: bool = False) -> bytes:
    """An explicit data set with these elements, which pydicom would not write, in their place."""
    one = a_data_set()
    del one.PixelData
    parts = [encode(one[at:to]) for at, to in ((None, 0x00120000), (0x00120000, None))]
    inside = b"".join(odd)
    if nested:
        inside = element(0x00120064, b"SQ", item(inside))
    return parts[0] + inside + parts[1]


def sent(tmp_path: Path, data: bytes, syntax: str = IMPLICIT) -> tuple[Converted, Any]:
    """Convert, and have DCMTK and pydicom read what is sent."""
    source = tmp_path / "source.dcm"
    source.write_bytes(encode_head(FileMeta(CT, "1.2.3", EXPLICIT)) + data)
    made = convert(source, tmp_path / "made.dcm", (syntax,))
    told = subprocess.run(["dcmdump", made.path], capture_output=True, text=True, check=True)
    assert "W:" not in told.stderr
    assert "E:" not in told.stderr
    content = made.path.read_bytes()
    assert (len(content) - made.offset) % 2 == 0
    after = dcmread(made.path)
    after.decode()
    assert [(e.tag, e.value) for e in after.iterall()]
    assert after.PatientID == "PLANTED-1"
    assert after.Rows == 2
    return made, after


NO_SEQUENCES = {
    "text": element(0x00120064, b"LO", b"Acme Header Anonymizer v1 "),
    "long text": element(0x00120064, b"UT", b"Acme" * 1000),
    "a code": element(0x00120064, b"CS", b"YES "),
    "numbers": element(0x00120064, b"US", b"\1\0\2\0"),
    "octets": element(0x00120064, b"OB", b"\xfe\xff\0\xe0"),
    "a broken sequence": element(0x00120064, b"SQ", b"Acme Header "),
    "unknown": element(0x00120064, b"UN", b"Acme Header "),
    "a VR that is none": element(0x00120064, b"UK", b"Acme Header "),
}


@pytest.mark.parametrize("odd", NO_SEQUENCES.values(), ids=NO_SEQUENCES)
def test_a_sequence_that_is_none_is_left_out_and_told(tmp_path: Path, odd: bytes) -> None:
    made, after = sent(tmp_path, an_object(odd))
    assert made.left_out == ("00120064",)
    assert 0x00120064 not in after


@pytest.mark.parametrize(
    ("odd", "tag"),
    [
        (element(0x00081030, b"SQ", item(b"")), 0x00081030),
        (element(0x00280010, b"SQ", item(b"")), 0x00280010),
        (element(0x00280011, b"LO", b"many"), 0x00280011),
        (element(0x00280011, b"US", b"\1\0\2"), 0x00280011),
        (element(0x00280011, b"FD", struct.pack("<d", 2.5)), 0x00280011),
        (element(0x00280011, b"SL", struct.pack("<l", -1)), 0x00280011),
        (element(0x00280009, b"LO", b"no"), 0x00280009),
        (element(0x00280009, b"OB", b"\1\2"), 0x00280009),
        (element(0x00189087, b"LO", b"inf "), 0x00189087),
        (element(0x00200013, b"FD", struct.pack("<d", 1.5)), 0x00200013),
    ],
)
def test_a_value_that_cannot_be_said_is_left_out_in_items_too(
    tmp_path: Path, odd: bytes, tag: int
) -> None:
    made, after = sent(tmp_path, an_object(odd, nested=True))
    assert made.left_out == (f"{tag:08X}",)
    assert list(after[0x00120064].value[0]) == []


@pytest.mark.parametrize(
    ("odd", "tag", "value"),
    [
        (element(0x00280011, b"LO", b" 512"), 0x00280011, 512),
        (element(0x00280011, b"UL", struct.pack("<L", 512)), 0x00280011, 512),
        (element(0x00280011, b"IS", b"1\\2 "), 0x00280011, [1, 2]),
        (element(0x00189087, b"DS", b"0.5 "), 0x00189087, 0.5),
        (element(0x00189087, b"FL", struct.pack("<f", 0.5)), 0x00189087, 0.5),
        (element(0x00200013, b"US", b"\7\0"), 0x00200013, 7),
        (element(0x00180050, b"FD", struct.pack("<d", 0.25)), 0x00180050, 0.25),
        (element(0x00081030, b"UN", b"CHEST "), 0x00081030, "CHEST"),
        (element(0x00081030, b"ZZ", b"CHEST "), 0x00081030, "CHEST"),
        (element(0x00081030, b"CS", b"CHEST"), 0x00081030, "CHEST"),
        (element(0x00081155, b"LO", b"1.2"), 0x00081155, "1.2"),
        (element(0x00280009, b"UN", struct.pack("<HH", 0x18, 0x1063)), 0x00280009, 0x181063),
        (element(0x00120064, b"LO", b""), 0x00120064, []),
    ],
)
def test_a_value_that_can_be_said_stays_the_same(
    tmp_path: Path, odd: bytes, tag: int, value: Any
) -> None:
    made, after = sent(tmp_path, an_object(element(0x00120064, b"SQ", item(odd))))
    assert made.left_out == ()
    assert after[0x00120064].value[0][tag].value == value


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_what_stands_in_no_data_set_is_left_out(tmp_path: Path, syntax: str) -> None:
    meta = element(0x00020010, b"UI", b"1.2.840.10008.1.2.2\0")
    command = element(0x00000002, b"UI", b"1.2\0")
    made, after = sent(tmp_path, command + meta + an_object(), syntax)
    assert made.left_out == ("00000002", "00020010")
    assert after.file_meta.TransferSyntaxUID == syntax


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
@pytest.mark.parametrize(
    ("odd", "tag", "padded"),
    [
        (element(0x00081030, b"LO", b"ODD"), 0x00081030, b"ODD "),
        (element(0x00081155, b"UI", b"1.2"), 0x00081155, b"1.2\0"),
        (element(0x00420011, b"OB", b"%PDF-"), 0x00420011, b"%PDF-\0"),
        (element(0x00400275, b"SQ", item(element(0x00081030, b"LO", b"ODD"))), 0x00400275, b""),
    ],
)
def test_what_is_made_is_even(
    tmp_path: Path, syntax: str, odd: bytes, tag: int, padded: bytes
) -> None:
    made, after = sent(tmp_path, an_object(odd, nested=True), syntax)
    assert made.left_out == ()
    assert tag in after[0x00120064].value[0]
    assert padded in made.path.read_bytes()


def test_an_explicit_peer_gets_the_vr_that_came(tmp_path: Path) -> None:
    made, after = sent(tmp_path, an_object(NO_SEQUENCES["text"]), EXPLICIT)
    assert made.left_out == ()
    assert after[0x00120064].VR == "LO"


@settings(max_examples=300, deadline=None)
@given(
    wanted=st.sampled_from(["US", "SS", "UL", "SL", "FL", "FD", "IS", "DS", "LO", "AT", "OB"]),
    given_vr=st.sampled_from(["US", "SS", "UL", "SL", "FL", "FD", "IS", "LO", "AT", "UN", "SQ"]),
    value=st.binary(max_size=24),
)
def test_any_value_is_written_or_not(wanted: str, given_vr: str, value: bytes) -> None:
    written = written_as(wanted, given_vr, value)
    if written and given_vr in ("US", "SS", "UL", "SL") and wanted in ("US", "SS", "UL", "SL"):
        codes = {"US": "H", "SS": "h", "UL": "L", "SL": "l"}
        numbers = struct.iter_unpack(f"<{codes[given_vr]}", value)
        assert list(numbers) == list(struct.iter_unpack(f"<{codes[wanted]}", written))


def test_what_was_left_out_is_told_with_what_arrived() -> None:
    arrived, failed = classify(0, IMPLICIT), classify(0xC000, IMPLICIT)
    told = without(arrived, ("00120064", "00081115"))
    assert told == Outcome(Verdict.WARNED, "ElementsLeftOut 00120064 00081115", 0, IMPLICIT)
    assert without(failed, ("00120064",)) == failed
    assert without(arrived, ()) == arrived
