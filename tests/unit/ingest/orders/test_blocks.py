"""Blocks of MLLP: cut wherever the network cuts them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom_ingest.orders.blocks import Blocks, NoBlock, block


def fed(blocks: Blocks, *pieces: bytes) -> list[bytes]:
    found = []
    for piece in pieces:
        blocks.feed(piece)
        while (message := blocks.next()) is not None:
            found.append(message)
    return found


@given(
    st.lists(st.binary(max_size=50).filter(lambda one: not set(one) & {0x0B, 0x1C}), max_size=4),
    st.lists(st.integers(min_value=1, max_value=20), max_size=20),
)
def test_messages_come_out_as_they_were_however_they_are_split(
    messages: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(map(block, messages))
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(stream[at : at + cut])
        at += cut
    assert fed(Blocks(1000), *pieces, stream[at:]) == messages


def test_a_lone_end_byte_within_a_message_does_not_end_it() -> None:
    assert fed(Blocks(100), b"\x0ba\x1cb\x1c", b"\x0d") == [b"a\x1cb"]


def test_who_begins_anew_has_given_up_the_message_before() -> None:
    blocks = Blocks(100)
    assert fed(blocks, b"\x0blost", b"\x0bwhole\x1c\r") == [b"whole"]
    assert not blocks.within
    assert fed(blocks, b"\x0bhalf") == []
    assert blocks.within


def test_what_is_no_block_ends_the_connection() -> None:
    with pytest.raises(NoBlock, match="no-block"):
        fed(Blocks(100_000), b"GET / HTTP/1.1\r\n" * 300)
    assert fed(Blocks(100), b"\r\n\0" * 3000, block(b"x")) == [b"x"]


@pytest.mark.parametrize("pieces", [[b"\x0b", b"x" * 101], [block(b"x" * 101)]])
def test_a_message_has_its_limit(pieces: list[bytes]) -> None:
    with pytest.raises(NoBlock, match="too-long"):
        fed(Blocks(100), *pieces)
    assert fed(Blocks(100), block(b"x" * 100)) == [b"x" * 100]
