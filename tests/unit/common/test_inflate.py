"""A deflated object as a file that is not: any place of it, in a window, and never for ever."""

import io
import random
import zlib

import pytest

from darkroom_common.dicom.inflate import RESTARTS, InflatedFile
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


@pytest.mark.parametrize("stream", [deflated(DATA)[:-9], b"\xff" * 40], ids=["cut", "not deflated"])
def test_a_damaged_stream_is_unreadable(stream: bytes) -> None:
    with pytest.raises(Unreadable):
        opened(stream)
