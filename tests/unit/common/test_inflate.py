"""A deflated object as a file that is not: any place of it, in a window, and never for ever."""

import io
import random
import zlib

import pytest

from darkroom_common.dicom.inflate import RESTARTS, WINDOW, InflatedFile, Inflater
from darkroom_common.dicom.walk import Unreadable

DATA = random.Random(7).randbytes(1_500_000)
FAR = 1_000_000


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def opened(stream: bytes) -> InflatedFile:
    return InflatedFile(io.BytesIO(b"as stored" + stream), len(b"as stored"))


def test_it_reads_as_the_inflated_file_would() -> None:
    raw = opened(deflated(DATA))
    assert raw.data_set_size == len(DATA)
    with io.BufferedReader(raw) as file:
        assert file.read() == DATA
        assert file.seek(-5, io.SEEK_END) == len(DATA) - 5
        assert file.read(100) == DATA[-5:]
        for place in (0, 3, 70_000, FAR, FAR - 70_000, 500, len(DATA) + 9):
            file.seek(place)
            assert file.read(70_000) == DATA[place : place + 70_000]


def test_a_reader_that_goes_back_again_and_again_is_stopped() -> None:
    raw = opened(deflated(DATA))
    for _ in range(RESTARTS):
        raw.seek(FAR)
        raw.read(1)
        raw.seek(0)
        assert raw.read(1) == DATA[:1]
    raw.seek(FAR)
    raw.read(1)
    raw.seek(0)
    with pytest.raises(Unreadable, match="inflates-too-far"):
        raw.read(1)


STREAM = deflated(DATA)


@pytest.mark.parametrize("stream", [STREAM[:-9], b"\xff" * 40], ids=["cut", "not deflated"])
def test_a_damaged_stream_is_unreadable(stream: bytes) -> None:
    with pytest.raises(Unreadable):
        opened(stream)


def test_it_tells_where_it_is_and_never_before_its_beginning() -> None:
    raw = opened(deflated(DATA))
    assert raw.tell() == 0
    assert raw.read(10) == DATA[:10]
    assert raw.tell() == 10
    assert raw.seek(5, io.SEEK_CUR) == raw.tell() == 15
    assert raw.seek(-99, io.SEEK_CUR) == raw.tell() == 0
    assert raw.readable()
    assert raw.seekable()


def test_a_stream_may_grow_to_its_limit_and_no_further() -> None:
    """The place that is told is one of the stream as it came, at most a slice after the fault."""
    stream = deflated(bytes(WINDOW))
    whole = Inflater(WINDOW)
    assert b"".join(whole.feed(stream)) == bytes(WINDOW)
    whole.finish()
    short = Inflater(WINDOW - 1)
    with pytest.raises(Unreadable, match="inflates-too-far") as told:
        list(short.feed(stream))
    assert told.value.position == len(stream)


def test_a_stream_that_grows_in_small_pieces_comes_to_its_limit_all_the_same() -> None:
    inflater = Inflater(len(DATA) - 1)
    with pytest.raises(Unreadable, match="inflates-too-far"):
        for byte in range(0, len(STREAM), 1000):
            list(inflater.feed(STREAM[byte : byte + 1000]))


def test_what_follows_the_end_of_the_stream_is_padding() -> None:
    inflater = Inflater(100)
    assert b"".join(inflater.feed(deflated(b"text") + b"\0" * 40)) == b"text"
    inflater.finish()


def test_a_damage_is_told_by_its_place() -> None:
    inflater = Inflater(100)
    with pytest.raises(Unreadable, match="bad-deflate") as told:
        list(inflater.feed(b"\xff" * 40))
    assert told.value.position == 40
    with pytest.raises(Unreadable, match="truncated") as told:
        Inflater(100).finish()
    assert told.value.position == 0
