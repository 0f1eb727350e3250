"""Frames are the right ones or none, whatever the offset tables say (PS3.5 A.4)."""

import struct
from itertools import accumulate

import pytest

from darkroom_api.dicomweb.retrieving.fragments import NoPixels, frames_of

JPEG = "1.2.840.10008.1.2.4.50"
J2K = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"
UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
NOTHING = (b"", b"")


def jpeg(number: int, size: int = 40) -> bytes:
    return b"\xff\xd8\xff\xe0" + bytes([number] * size) + b"\xff\xd9"


def rle(number: int) -> bytes:
    return struct.pack("<16L", 1, 64, *[0] * 14) + bytes([number]) * 30


def cut(frame: bytes, size: int = 14) -> list[bytes]:
    return [frame[at : at + size] for at in range(0, len(frame), size)]


def offsets_of(groups: list[list[bytes]]) -> list[int]:
    return [0, *accumulate(sum(len(one) + 8 for one in group) for group in groups)][:-1]


def encapsulated(fragments: list[bytes], table: list[int] | bytes = b"") -> bytes:
    basic = table if isinstance(table, bytes) else struct.pack(f"<{len(table)}L", *table)
    items = [struct.pack("<HHL", 0xFFFE, 0xE000, len(one)) + one for one in (basic, *fragments)]
    return b"".join(items) + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def frames(
    fragments: list[bytes],
    table: list[int] | bytes = b"",
    *,
    count: int | None = None,
    syntax: str = JPEG,
    extended: tuple[bytes, bytes] = NOTHING,
) -> list[bytes]:
    data = b"before" + encapsulated(fragments, table)

    def read(start: int, length: int) -> bytes:
        return data[start : start + length]

    found = frames_of(read, 6, count, syntax, extended)
    return [b"".join(data[start : start + size] for start, size in one) for one in found]


THREE = [jpeg(1), jpeg(2), jpeg(3)]
GROUPS = [cut(one) for one in THREE]
PIECES = [piece for group in GROUPS for piece in group]


@pytest.mark.parametrize(
    "table",
    [
        b"",
        offsets_of([[one] for one in THREE]),
        [0, 3, 7],
        [0],
        [0, 54],
        [0, 54, 108, 162],
        [0, 0, 0],
        [8, 62, 116],
        [108, 54, 0],
        b"\0\0\0",
        [0xFFFFFFF0, 1, 2],
    ],
    ids=str,
)
def test_whole_fragments_are_frames_whatever_the_table_says(table: list[int] | bytes) -> None:
    assert frames(THREE, table, count=3) == THREE


def test_a_right_table_groups_fragments() -> None:
    assert frames(PIECES, offsets_of(GROUPS), count=3) == THREE
    assert frames(PIECES, offsets_of(GROUPS)) == THREE


@pytest.mark.parametrize("table", [b"", [0, 14, 28], [0], offsets_of(GROUPS)[:2]], ids=str)
def test_fragments_are_grouped_by_the_marks_of_code_streams(table: list[int] | bytes) -> None:
    assert frames(PIECES, table, count=3) == THREE


def test_a_table_that_begins_within_a_code_stream_is_not_believed() -> None:
    pieces = [*cut(jpeg(1, 20), 13), jpeg(2, 10)]
    lengths = [len(one) + 8 for one in pieces]
    assert frames(pieces, [0, lengths[0]], count=2) == [jpeg(1, 20), jpeg(2, 10)]


def test_an_end_is_found_behind_padding() -> None:
    odd = [b"\xff\xd8" + bytes(20), bytes(7) + b"\xff\xd9\0", b"\xff\xd8" + bytes(9), b"12\xff\xd9"]
    assert frames(odd, count=2) == [odd[0] + odd[1], odd[2] + odd[3]]


def test_the_number_of_frames_limits_whole_fragments() -> None:
    assert frames(THREE, count=2) == THREE[:2]
    assert frames(THREE, count=5) == THREE
    assert frames(THREE) == THREE[:1]


def test_one_frame_is_all_fragments() -> None:
    assert frames(cut(jpeg(5))) == [jpeg(5)]
    assert frames(cut(jpeg(5)), [0, 9], count=1) == [jpeg(5)]
    assert frames(cut(rle(7), 32), syntax=RLE) == [rle(7)]


def test_rle_has_a_fragment_a_frame() -> None:
    three = [rle(1), rle(2), rle(3)]
    assert frames(three, [0, 5], count=3, syntax=RLE) == three
    pieces = [piece for one in three for piece in cut(one, 50)]
    assert frames(pieces, count=3, syntax=RLE) == three  # its header tells
    raw = [bytes(range(16)), bytes(range(16, 32))]
    assert frames(raw, count=2, syntax=UNCOMPRESSED) == raw


def test_what_cannot_be_told_apart_is_no_frame() -> None:
    for fragments, count in (([b"ab", b"cd", b"ef"], 2), ([b"ab"], 2), (cut(jpeg(1)), 3), ([], 1)):
        with pytest.raises(NoPixels):
            frames(fragments, count=count, syntax=UNCOMPRESSED)
    with pytest.raises(NoPixels):
        frames(PIECES[1:], count=4, syntax=J2K)


def test_the_extended_table_is_believed_when_it_is_right() -> None:
    raw = [b"\xff\xd8abcd", b"xx\xff\xd9", b"another one!"]
    offsets = struct.pack("<3Q", *offsets_of([[one] for one in raw]))
    lengths = struct.pack("<3Q", *map(len, raw))
    assert frames(raw, extended=(offsets, lengths)) == raw
    wrong = (struct.pack("<3Q", 0, 1, 2), struct.pack("<2Q", 0, 1 << 62), b"short")
    for bad in wrong:
        assert frames(raw, count=3, extended=(bad, lengths)) == raw  # a fragment each
        with pytest.raises(NoPixels):
            frames(raw, count=2, extended=(bad, lengths), syntax=UNCOMPRESSED)


def test_fragments_that_are_cut_do_not_hang_or_crash() -> None:
    whole = encapsulated(PIECES, offsets_of(GROUPS))
    for end in range(len(whole)):

        def read(start: int, length: int, end: int = end) -> bytes:
            return whole[:end][start : start + length]

        try:
            found = frames_of(read, 0, 3, JPEG, NOTHING)
        except NoPixels:
            continue
        assert len(found) <= 3
