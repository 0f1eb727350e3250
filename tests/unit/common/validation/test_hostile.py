"""Whatever an object is like, validation says something of it, or refuses it, in time."""

import io
import json
import random
import struct
import time
import zlib
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom_common.dicom.walk import Unreadable
from darkroom_common.validation.findings import MOST
from darkroom_common.validation.validate import LIMITS, validate
from tests.support.mutation import a_seed, mutated, real_files

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's; the worker does not heed them
LONGEST: Final = 10.0
"""Seconds that one may take: the worker ends it after 20."""
CASES: Final = 600
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
VRS: Final = [
    "AE",
    "AS",
    "AT",
    "CS",
    "DA",
    "DS",
    "DT",
    "FD",
    "FL",
    "IS",
    "LO",
    "LT",
    "OB",
    "OD",
    "OF",
    "OL",
    "OV",
    "OW",
    "PN",
    "SH",
    "SL",
    "SQ",
    "SS",
    "ST",
    "SV",
    "TM",
    "UC",
    "UI",
    "UL",
    "UN",
    "UR",
    "US",
    "UT",
    "UV",
]
LONG: Final = frozenset(
    ["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"]
)
TAGS: Final = (
    *(0x00080005, 0x00080008, 0x00080016, 0x00080018, 0x00100010, 0x00180050, 0x00200020),
    *(0x00200032, 0x00200037, 0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280009),
    *(0x00280010, 0x00280011, 0x00280030, 0x00280034, 0x00280100, 0x00280101, 0x00280102),
    *(0x00280103, 0x00281050, 0x00281051, 0x00281053, 0x00281101, 0x00281201, 0x0040A040),
    *(0x0040A730, 0x00620002, 0x54000100, 0x52009229, 0x52009230, 0x7FE00010, 0x00191060),
)
CLASSES: Final = ("2", "2.1", "4.1", "66.4", "88.33", "9.1.1", "7", "481.2", "11.1", "1.1.2")


def judge(data: bytes) -> bool:
    """Validate; return whether there was something to say."""
    began = time.process_time()
    try:
        report = validate(io.BytesIO(data))
    except Unreadable:
        said = False
    else:
        said = len(json.dumps(report.to_json())) > 100
        assert len(report.findings) <= MOST
    assert time.process_time() - began < LONGEST
    return said


def element(tag: int, vr: str, value: bytes) -> bytes:
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    if vr in LONG:
        return head + struct.pack("<HL", 0, len(value)) + value
    return head + struct.pack("<H", len(value) & 0xFFFF) + value[:0xFFFF]


def whole(body: bytes, syntax: str = "1.2.840.10008.1.2.1") -> bytes:
    said = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = element(0x00020010, "UI", said)
    return (
        bytes(128) + b"DICM" + element(0x00020000, "UL", struct.pack("<L", len(meta))) + meta + body
    )


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    return real_files(200_000)


def test_mutants_of_real_files(files: list[bytes]) -> None:
    seed = a_seed()
    told = 0
    for number in range(CASES):
        chance = random.Random(f"validate {seed} {number}")
        data = mutated(chance, chance.choice(files))
        try:
            told += judge(data)
        except Exception as error:
            raise AssertionError(f"seed {seed}, case {number}: {error!r}") from error
    assert told > CASES // 2


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(CLASSES),
    st.lists(
        st.tuples(st.sampled_from(TAGS), st.sampled_from(VRS), st.binary(max_size=40)), max_size=30
    ),
)
def test_any_elements_in_any_vr(kind: str, elements: list[tuple[int, str, bytes]]) -> None:
    uid = f"1.2.840.10008.5.1.4.1.1.{kind}".encode()
    body = element(0x00080016, "UI", uid + b"\0" * (len(uid) % 2))
    for tag, vr, value in sorted(elements):
        body += element(tag, vr, b"" if vr == "SQ" else value)
    judge(whole(body))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([one for one in VRS if one not in LONG]),
    st.text(alphabet="0123456789.-+eE\\ NaInf^=\0\t\n_A", max_size=60),
    st.sampled_from(TAGS),
)
def test_any_text_in_any_attribute(vr: str, text: str, tag: int) -> None:
    judge(
        whole(
            element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.2\0")
            + element(tag, vr, text.encode())
        )
    )


def test_many_elements_are_bounded() -> None:
    body = b"".join(element(0x00091000 + n % 0xE000, "LO", b"\x07") for n in range(250_000))
    assert judge(whole(body))


def test_deep_nesting_is_bounded() -> None:
    body = b""
    for _ in range(300):
        item = struct.pack("<HHL", 0xFFFE, 0xE000, len(body)) + body
        body = element(0x0040A730, "SQ", item)
    judge(whole(element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.88.33\0") + body))


def test_many_frames_with_many_faults_are_one_finding_each() -> None:
    wrong = element(0x00209056, "SH", b"x" * 40)
    content = struct.pack("<HHL", 0xFFFE, 0xE000, len(wrong)) + wrong
    frame = element(0x00209111, "SQ", content)
    frames = (struct.pack("<HHL", 0xFFFE, 0xE000, len(frame)) + frame) * 5_000
    body = element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.66.4\0\0"[:28])
    assert judge(whole(body + element(0x52009230, "SQ", frames)))


def test_a_deflated_bomb_is_refused() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.2\0")
    packed = packer.compress(head + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 0xFFFFFFF0))
    block = bytes(1 << 24)
    for _ in range(LIMITS.inflated_bytes // len(block) + 1):
        packed += packer.compress(block)
    with pytest.raises(Unreadable, match="inflates-too-far"):
        validate(io.BytesIO(whole(packed + packer.flush(), DEFLATED)))
