"""The walk over annotated bytes: whole data sets pass, everything else is told."""

import itertools
import struct
import tracemalloc
import zlib
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from darkroom_common.dicom import identity as identity_module
from darkroom_common.dicom.heads import Encoding
from darkroom_common.dicom.identity import Identity, IdentityReader, derived_uid, is_conformant
from darkroom_common.dicom.limits import DEFAULT_LIMITS, ReadLimits
from darkroom_common.dicom.part10 import FileMeta, decode_head, encode_head
from darkroom_common.dicom.walk import Element, Unreadable, Walker
from tests.support.builders import a_data_set, encode
from tests.support.real_files import REAL_FILES

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.70"


def short(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def long(group: int, number: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    told = len(value) if length is None else length
    return struct.pack("<HH2sHL", group, number, vr, 0, told) + value


def item(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(value) if length is None else length) + value


ITEM_END = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
UNDEFINED = 0xFFFFFFFF
IDENTITY = (
    short(8, 0x16, b"UI", b"1.2.3\x00")
    + short(8, 0x18, b"UI", b"1.2.3.4\x00")
    + short(0x10, 0x20, b"LO", b"P1")
    + short(0x20, 0xD, b"UI", b"1.2.5\x00")
    + short(0x20, 0xE, b"UI", b"1.2.6\x00")
)


def pieces(data: bytes, size: int) -> list[memoryview]:
    view = memoryview(data)
    return [view[start : start + size] for start in range(0, len(view), size)]


def walk(data: bytes, size: int = 1 << 30, limits: ReadLimits = DEFAULT_LIMITS) -> list[Element]:
    found: list[Element] = []
    walker = Walker(Encoding(implicit=False), on_element=found.append, limits=limits)
    for piece in pieces(data, size):
        walker.feed(piece)
    walker.finish()
    return found


def read_in_pieces(
    data: bytes, syntax: str, limits: ReadLimits = DEFAULT_LIMITS, size: int = 7
) -> Identity:
    reader = IdentityReader(syntax, limits)
    for piece in pieces(data, size):
        reader.feed(piece)
    return reader.finish()


Outcome = tuple[Identity | None, str]


def outcome(data: bytes, syntax: str, cuts: list[int]) -> Outcome:
    """What reading gives when the bytes arrive cut at these places: an identity or a code."""
    reader = IdentityReader(syntax)
    try:
        for start, end in itertools.pairwise([0, *sorted(cuts), len(data)]):
            reader.feed(data[start:end])
        return reader.finish(), ""
    except Unreadable as error:
        return None, f"{error.code} {error.position}"


@pytest.fixture(params=["whole", "pieces of 1", "pieces of 7", "pieces of 4096"], autouse=True)
def _each_way_of_arriving(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test of this file reads whole buffers and pieces of several sizes."""
    if request.param == "whole":
        return
    size = int(request.param.split()[-1])
    monkeypatch.setitem(globals(), "read_identity", partial(read_in_pieces, size=size))
    monkeypatch.setitem(globals(), "walk", partial(_walk, size=size))


_walk = walk
read_identity = identity_module.read_identity


def tags(data: bytes) -> list[int]:
    return [element.tag for element in walk(data)]


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_identity_in_each_encoding(syntax: str) -> None:
    data_set = a_data_set()
    found = read_identity(encode(data_set, syntax), syntax)
    assert found.sop_instance_uid == data_set.SOPInstanceUID
    assert found.study_instance_uid == data_set.StudyInstanceUID
    assert found.series_instance_uid == data_set.SeriesInstanceUID
    assert found.patient_key == b"\x1fPLANTED-1"
    assert found.flags == ()


def test_identity_in_a_deflated_data_set() -> None:
    data_set = a_data_set(PixelData=bytes(3 << 20))
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(encode(data_set)) + packer.flush()
    assert len(packed) < 100_000
    assert read_identity(packed, DEFLATED).sop_instance_uid == data_set.SOPInstanceUID


def test_a_deflated_bomb_is_refused_by_its_growth() -> None:
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(IDENTITY + long(0x7FE0, 0x10, b"OB", bytes(8 << 20))) + packer.flush()
    with pytest.raises(Unreadable, match="inflates-too-far"):
        read_identity(packed, DEFLATED, ReadLimits(inflated_bytes=1 << 20))


@pytest.mark.parametrize("cut", [b"", b"garbage", b"\xff" * 40])
def test_a_broken_deflate_stream_is_unreadable(cut: bytes) -> None:
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(encode(a_data_set())) + packer.flush()
    with pytest.raises(Unreadable):
        read_identity(cut + packed[: len(packed) // 2], DEFLATED)


def test_every_cut_of_a_data_set_is_told() -> None:
    nested = long(
        8, 0x1140, b"SQ", item(short(8, 0x1150, b"UI", b"1.2\x00"), UNDEFINED) + ITEM_END, UNDEFINED
    )
    data = IDENTITY + nested + SEQUENCE_END + long(0x7FE0, 0x10, b"OW", b"\x00\x01\x02\x03")
    ends = {0} | {element.end for element in walk(data)}
    for cut in range(len(data)):
        if cut in ends:
            continue
        with pytest.raises(Unreadable):
            tags(data[:cut])
    assert len(tags(data)) == 7


def test_encapsulated_pixels_with_what_looks_like_a_delimiter() -> None:
    fragment = b"\xff\xd8" + SEQUENCE_END + b"\xff\xd9"
    data = IDENTITY + long(
        0x7FE0, 0x10, b"OB", item(b"") + item(fragment) + SEQUENCE_END, UNDEFINED
    )
    assert tags(data)[-1] == 0x7FE00010
    assert read_identity(data, JPEG).sop_class_uid == "1.2.3"


def test_un_of_undefined_length_is_implicit_inside() -> None:
    inner = struct.pack("<HHL", 0x0009, 0x1001, 4) + b"ABCD"
    data = IDENTITY + long(
        9, 0x1000, b"UN", item(inner, UNDEFINED) + ITEM_END + SEQUENCE_END, UNDEFINED
    )
    assert tags(data)[-1] == 0x00091000


def test_unknown_vr_is_long_and_no_vr_is_implicit() -> None:
    data = IDENTITY + long(9, 0x1000, b"ZZ", b"abcd") + struct.pack("<HHL", 9, 0x1001, 2) + b"ab"
    assert tags(data)[-2:] == [0x00091000, 0x00091001]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (IDENTITY + item(b""), "item-outside-sequence"),
        (IDENTITY + long(8, 0x1140, b"SQ", b"", UNDEFINED), "truncated"),
        (IDENTITY + long(8, 0x1140, b"SQ", short(8, 0, b"UL", bytes(4)), UNDEFINED), "bad-item"),
        (IDENTITY + long(0x7FE0, 0x10, b"OB", item(b"", UNDEFINED), UNDEFINED), "bad-fragment"),
        (IDENTITY + long(0x7FE0, 0x10, b"OB", b"abcd", 0xFFFFFFFE), "truncated"),
        (short(8, 0x16, b"UI", b"1.2\x00"), "no-sop-uid"),
        (short(8, 0x18, b"UI", b"../../etc"), "bad-uid"),
        (short(8, 0x18, b"UI", b"1.2\x003.4"), "bad-uid"),
        (short(8, 0x18, b"UI", b"1." + b"2" * 128), "bad-uid"),
        (short(8, 0x18, b"UI", b"1.2\r\n"), "bad-uid"),
    ],
)
def test_what_cannot_be_is_told_by_its_code(data: bytes, code: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read_identity(data, EXPLICIT)
    assert caught.value.code == code


def test_nesting_is_bounded_without_recursion() -> None:
    def nested(depth: int) -> bytes:
        start = (long(8, 0x1140, b"SQ", b"", UNDEFINED) + item(b"", UNDEFINED)) * depth
        return IDENTITY + start + (ITEM_END + SEQUENCE_END) * depth

    assert len(tags(nested(60))) == 6
    for depth in (300, 10_000):
        with pytest.raises(Unreadable, match="nested-too-deep"):
            tags(nested(depth))


def test_elements_are_bounded() -> None:
    data = short(8, 0x20, b"DA", b"") * 50
    with pytest.raises(Unreadable, match="too-many-elements"):
        walk(data, limits=ReadLimits(elements=49))
    assert len(walk(data, limits=ReadLimits(elements=50))) == 50


def test_missing_study_and_series_are_derived_and_flagged() -> None:
    data_set = a_data_set()
    del data_set.StudyInstanceUID
    del data_set.SeriesInstanceUID
    first, second = (read_identity(encode(data_set), EXPLICIT) for _ in range(2))
    assert first == second
    assert first.flags == ("study-uid-derived", "series-uid-derived")
    assert is_conformant(first.study_instance_uid)
    assert first.study_instance_uid == derived_uid("study", str(data_set.SOPInstanceUID))


@pytest.mark.parametrize("uid", ["1.02.3", "abc", "1.2.", "d41d8cd98f00b204e9800998ecf8427e"])
def test_harmless_nonconformant_uids_are_accepted_and_flagged(uid: str) -> None:
    data = short(8, 0x16, b"UI", b"1.2.3\x00") + short(8, 0x18, b"UI", uid.encode())
    found = read_identity(data, EXPLICIT)
    assert found.sop_instance_uid == uid
    assert "nonconformant-uid" in found.flags


@given(st.binary(max_size=400), st.sampled_from([IMPLICIT, EXPLICIT, BIG, DEFLATED]))
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_read_or_told(data: bytes, syntax: str) -> None:
    try:
        read_identity(data, syntax)
    except Unreadable as error:
        assert error.code


def _whole(syntax: str) -> bytes:
    inner = Dataset()
    inner.ReferencedSOPInstanceUID = "1.2.3"
    return encode(a_data_set(ReferencedImageSequence=[inner]), syntax)


WHOLE = {syntax: _whole(syntax) for syntax in (IMPLICIT, EXPLICIT, BIG)}


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_any_mutation_is_read_or_told(data: st.DataObject) -> None:
    syntax = data.draw(st.sampled_from([IMPLICIT, EXPLICIT, BIG]))
    whole = bytearray(WHOLE[syntax])
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_identity(bytes(whole), syntax)
    except Unreadable as error:
        assert error.code


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_any_chunking_gives_what_the_whole_gives(data: st.DataObject) -> None:
    syntax = data.draw(st.sampled_from([IMPLICIT, EXPLICIT, BIG, DEFLATED]))
    if syntax == DEFLATED:
        packer = zlib.compressobj(wbits=-15)
        whole = bytearray(packer.compress(WHOLE[EXPLICIT]) + packer.flush())
    else:
        whole = bytearray(WHOLE[syntax])
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(whole[: data.draw(st.integers(0, len(whole)) | st.just(len(whole)))])
    cuts = data.draw(st.lists(st.integers(0, len(content)), max_size=40))
    found = outcome(content, syntax, cuts)
    if syntax == DEFLATED:  # positions count what was taken, which depends on the pieces
        assert found[0] == outcome(content, syntax, [])[0]
    else:
        assert found == outcome(content, syntax, [])


def test_nothing_is_held_but_the_start_of_wanted_values() -> None:
    walker = Walker(Encoding(implicit=False), wanted=frozenset({0x00100020, 0x7FE00010}))
    walker.feed(IDENTITY + long(0x7FE0, 0x10, b"OW", b"", 64 << 20))
    tracemalloc.start()
    try:
        for _ in range(64):
            walker.feed(MEGABYTE)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    walker.finish()
    assert walker.values[0x00100020][0] == b"P1"
    assert len(walker.values[0x7FE00010][0]) == 1024


MEGABYTE = bytes(1 << 20)


def test_head_goes_out_and_comes_back() -> None:
    meta = FileMeta("1.2.3", "1.2.3.4", EXPLICIT, "SCANNER", "DARKROOM")
    head = encode_head(meta)
    assert head[:132] == bytes(128) + b"DICM"
    assert decode_head(head + b"data") == (meta, len(head))


@pytest.mark.parametrize("cut", [0, 100, 131, 140, 150])
def test_a_cut_head_is_told(cut: int) -> None:
    with pytest.raises(Unreadable):
        decode_head(encode_head(FileMeta("1.2.3", "1.2.3.4", EXPLICIT))[:cut])


def values_of(data: bytes, *, implicit: bool, size: int, slowly: bool) -> dict[int, bytes] | str:
    walker = Walker(
        Encoding(implicit),
        wanted=frozenset({0x00080016, 0x00100010, 0x0020000D, 0x00280010}),
        on_element=(lambda _: None) if slowly else None,
        limits=ReadLimits(elements=200),
    )
    try:
        for piece in pieces(data, size):
            walker.feed(piece)
        walker.finish()
    except Unreadable as error:
        return str(error)
    return {tag: value for tag, (value, _) in walker.values.items()}


@pytest.mark.parametrize("size", [1 << 20, 997, 13])
def test_passing_over_what_nobody_wants_changes_nothing(size: int) -> None:
    seen: set[object] = set()
    for path in REAL_FILES:
        data = path.read_bytes()[:20_000]
        try:
            meta, offset = decode_head(data)
        except Unreadable:
            continue
        implicit = meta.transfer_syntax_uid == IMPLICIT
        fast = values_of(data[offset:], implicit=implicit, size=size, slowly=False)
        slow = values_of(data[offset:], implicit=implicit, size=size, slowly=True)
        assert fast == slow, path.name
        seen.add(fast.partition(" ")[0] if isinstance(fast, str) else "whole")
    assert seen >= {"whole", "truncated", "too-many-elements"}
