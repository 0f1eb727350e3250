"""Fragments become messages: for any cut, within limits, in order, without a copy of data sets."""

import struct
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom_common.dimse.wire.command import Command, CommandField, Element, encode_command
from darkroom_common.dimse.wire.messages import Assembler, InMemory, Message, Sink
from darkroom_common.dimse.wire.pdu import ControlPdu, ProtocolError, encode_data

DATA = bytes(range(256)) * 40
STORE = encode_command(
    CommandField.C_STORE,
    {Element.MESSAGE_ID: 7, Element.AFFECTED_SOP_CLASS: "1.2.3"},
    data_set=True,
)
ECHO = encode_command(CommandField.C_ECHO, {Element.MESSAGE_ID: 8})
RELEASE = struct.pack(">BxLL", 5, 4, 0)


class Views:
    """Keeps the very views that it is given."""

    def __init__(self) -> None:
        self.parts: list[memoryview] = []
        self.abandoned = False

    def write(self, parts: Sequence[memoryview]) -> None:
        self.parts += parts

    def abandon(self) -> None:
        self.abandoned = True


def pdus(context: int, command: bytes, data: bytes = b"", size: int = 1000) -> bytes:
    made = encode_data(context, is_command=True, data=command, max_length=size)
    if data:
        made += encode_data(context, is_command=False, data=data, max_length=size)
    return made


def in_memory(_context: int, _command: Command) -> Sink:
    return InMemory(len(DATA))


def take(stream: bytes, cuts: Sequence[int] = ()) -> list[Message | ControlPdu]:
    assembler = Assembler({1, 3}, 131072, in_memory)
    found = []
    places = [0, *sorted(cut % len(stream) for cut in cuts), len(stream)]
    for start, end in pairwise(places):
        found += list(assembler.feed(memoryview(stream)[start:end]))
    return found


@given(st.lists(st.integers(0, 1 << 20), max_size=8), st.integers(20, 4000))
@settings(max_examples=200, deadline=None)
def test_any_cut_gives_the_same_messages(cuts: list[int], size: int) -> None:
    stream = pdus(1, STORE, DATA, size) + pdus(3, ECHO, size=size) + RELEASE
    first, second, third = take(stream, cuts)
    assert isinstance(first, Message)
    assert isinstance(second, Message)
    assert (first.context, first.command.field, first.command.message_id) == (1, 1, 7)
    assert first.data_set == DATA
    assert (second.context, second.command.field, second.sink) == (3, 0x30, None)
    assert isinstance(third, ControlPdu)


def test_a_data_set_is_handed_on_as_views_of_what_was_read() -> None:
    sink = Views()
    assembler = Assembler({1}, 131072, lambda _context, _command: sink)
    stream = bytearray(pdus(1, STORE, DATA))
    (message,) = assembler.feed(memoryview(stream))
    assert isinstance(message, Message)
    assert message.sink is sink
    assert all(part.obj is stream for part in sink.parts)
    assert b"".join(sink.parts) == DATA
    assembler.abandon()
    assert not sink.abandoned


def test_what_has_no_end_is_abandoned() -> None:
    sink = Views()
    assembler = Assembler({1}, 131072, lambda _context, _command: sink)
    assert list(assembler.feed(memoryview(pdus(1, STORE, DATA)[:-1]))) == []
    assert sink.parts
    assembler.abandon()
    assert sink.abandoned


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (pdus(5, ECHO), "context-not-accepted"),
        (pdus(1, STORE) + pdus(1, ECHO), "command-within-data-set"),
        (pdus(1, STORE) + pdus(3, STORE, DATA)[len(pdus(3, STORE)) :], "data-set-without-command"),
        (pdus(1, ECHO, DATA), "data-set-without-command"),
        (pdus(1, STORE, DATA + b"x"), "message-too-long"),
        (pdus(1, bytes((1 << 16) + 1)), "command-too-long"),
    ],
)
def test_what_is_out_of_order_or_too_long_is_refused(stream: bytes, code: str) -> None:
    with pytest.raises(ProtocolError, match=code):
        take(stream)
