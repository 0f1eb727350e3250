"""A data set of a file becomes a C-STORE: every byte once, in PDUs that the peer takes."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from darkroom_common.dimse.users.store import Staging, StoreEncoder, Unsendable, open_file
from darkroom_common.dimse.wire.command import Command, Value, decode_command
from darkroom_common.dimse.wire.pdu import Fragment, PduParser

HEAD = b"what stands before the data set"
LARGE = 3 << 20


@dataclass(frozen=True)
class File:
    """A data set in a file."""

    path: Path
    offset: int
    size: int
    sop_class_uid: str = "1.2.3"
    sop_instance_uid: str = "1.2.3.4"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path


def a_file(directory: Path, content: bytes, *, missing: int = 0) -> File:
    path = directory / "object"
    path.write_bytes(HEAD + content[: len(content) - missing])
    return File(path, len(HEAD), len(content))


class Peer:
    """Takes what is sent apart, as our own door does."""

    def __init__(self, max_length: int) -> None:
        self._parser = PduParser(max_length)
        self.max_length = max_length
        self.command = bytearray()
        self.data = bytearray()
        self.fragments: list[Fragment] = []

    def put(self, command: bytes, data: memoryview) -> None:
        for part in (memoryview(command), data):
            for event in self._parser.feed(part):
                assert isinstance(event, Fragment)
                self.fragments.append(event)
                (self.command if event.is_command else self.data).extend(event.data)

    @property
    def request(self) -> Command:
        return decode_command(self.command)


def sent(file: File, max_length: int, elements: dict[int, Value] | None = None) -> Peer:
    encoder, peer = StoreEncoder(max_length), Peer(max_length)
    opened = encoder.open(file, 5)
    try:
        encoder.transfer(opened, elements or {0x0110: 9}, peer.put)
    finally:
        os.close(opened.descriptor)
    return peer


@pytest.mark.parametrize("max_length", [64, 16_384, 1 << 20, (1 << 20) + 7, 4 << 20])
@pytest.mark.parametrize("size", [0, 1, 2, 16_371, LARGE, LARGE + 1])
def test_every_byte_arrives_once_and_the_last_is_said_to_be(
    directory: Path, size: int, max_length: int
) -> None:
    content = os.urandom(size)
    peer = sent(a_file(directory, content), max_length)
    assert bytes(peer.data) == content + bytes(size % 2)
    of_data = [one for one in peer.fragments if not one.is_command]
    assert [one.last for one in of_data] == [False] * (len(of_data) - 1) + [True]
    assert {one.context for one in peer.fragments} == {5}
    assert peer.fragments[0].is_command, "the command goes first"


def test_the_command_says_what_follows(directory: Path) -> None:
    """PS3.7 section 9.3.1.1."""
    peer = sent(a_file(directory, b"data"), 16_384, {0x0110: 9, 0x1030: "AE"})
    assert (peer.request.field, peer.request.message_id) == (1, 9)
    assert peer.request.has_data_set
    assert (peer.request.sop_class_uid, peer.request.sop_instance_uid) == ("1.2.3", "1.2.3.4")
    assert peer.request.text(0x1030) == "AE"


def test_one_buffer_serves_one_object_after_the_other(directory: Path) -> None:
    """Of other lengths and contexts: no head of one is left in the next."""
    encoder = StoreEncoder(1024)
    for context, size in ((1, 5000), (1, 100), (3, 5001), (3, 2000), (1, 3 << 20), (1, 7)):
        content = os.urandom(size)
        opened = encoder.open(a_file(directory, content), context)
        peer = Peer(1024)
        encoder.transfer(opened, {0x0110: 1}, peer.put)
        os.close(opened.descriptor)
        assert bytes(peer.data) == content + bytes(size % 2)
        assert {one.context for one in peer.fragments} == {context}
        assert [one.last for one in peer.fragments if not one.is_command].count(True) == 1


def test_a_buffer_has_room_for_what_one_read_may_fill() -> None:
    assert Staging(20).capacity == 1000 * (20 - 6 & ~1), "pieces of one preadv"
    assert Staging(1 << 30).capacity >= (1 << 30) - 8, "one PDU at least"
    assert Staging(16_384).capacity <= 1 << 20


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_file_that_is_not_there_or_too_short_is_told_before_anything_is_sent(
    directory: Path,
) -> None:
    encoder, before = StoreEncoder(16_384), descriptors()
    for file, reason in (
        (File(directory / "nowhere", 0, 1), "ObjectMissing"),
        (a_file(directory, b"data", missing=1), "ObjectDamaged"),
    ):
        with pytest.raises(Unsendable) as told:
            encoder.open(file, 1)
        assert (told.value.reason, told.value.transient, str(told.value)) == (reason, False, reason)
    with pytest.raises(Unsendable) as told:
        open_file(File(directory / ("x" * 300), 0, 1))
    assert (told.value.reason, told.value.transient) == ("StoreUnavailable", True)
    with pytest.raises(Unsendable) as told:
        encoder.open(File(directory, 0, 1), 1)  # it opens, and cannot be read
    assert (told.value.reason, told.value.transient) == ("StoreUnavailable", True)
    assert descriptors() == before


def test_a_file_of_just_the_right_length_is_taken(directory: Path) -> None:
    os.close(open_file(a_file(directory, b"data")))


def test_a_file_that_is_cut_while_it_goes_out_is_told(directory: Path) -> None:
    file = a_file(directory, os.urandom(LARGE))
    encoder = StoreEncoder(16_384)
    opened = encoder.open(file, 1)

    def put(_: bytes, __: memoryview) -> None:
        os.truncate(file.path, LARGE // 2)

    with pytest.raises(Unsendable, match="ObjectDamaged"):
        encoder.transfer(opened, {}, put)
    os.close(opened.descriptor)


def test_the_next_is_read_while_the_one_before_waits_for_its_answer(directory: Path) -> None:
    """What is opened has its first bytes in the buffer, and no others are read for them."""
    file = a_file(directory, b"abcd")
    encoder, peer = StoreEncoder(16_384), Peer(16_384)
    opened = encoder.open(file, 1)
    file.path.write_bytes(b"")
    encoder.transfer(opened, {}, peer.put)
    os.close(opened.descriptor)
    assert bytes(peer.data) == b"abcd"
