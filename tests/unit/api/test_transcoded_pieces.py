"""Large objects in another transfer syntax: frame by frame, and the same as when made whole."""

import io
import tracemalloc
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array

from darkroom_api.rendering import transcoding
from darkroom_api.rendering.exchange import MADE, TASK, ObjectTask, Place
from darkroom_api.rendering.worker import answer
from darkroom_common.dicom.part10 import decode_head
from darkroom_common.dicom.walk import Unreadable
from tests.support.builders import a_data_set
from tests.support.real_files import REAL_FILES
from tests.support.stow import a_file

EXPLICIT, IMPLICIT, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.5"
JLS, J2K = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
BIG = "1.2.840.10008.1.2.2"
pytestmark = pytest.mark.filterwarnings("ignore")


class Files:
    """A store of which the keys are paths."""

    def open_now(self, key: str) -> BinaryIO:
        return Path(key).open("rb")


def is_object(path: Path) -> bool:
    try:
        decode_head(path.read_bytes()[:65536])
    except Unreadable:
        return False
    return True


def asked(path: Path, syntax: str) -> tuple[Any, list[bytes]]:
    """Return the first line of the worker's answer, and its bodies."""
    with path.open("rb") as file:
        meta, start = decode_head(file.read(65536))
    place = Place(str(path), meta.transfer_syntax_uid, start, path.stat().st_size - start)
    store: Any = Files()
    said = list(answer(store, TASK.dump_json(ObjectTask(place, (syntax,)))))
    return MADE.validate_json(bytes(said[0])), [bytes(one) for one in said[1::2]]


def an_image(frames: int, side: int) -> Dataset:
    samples = np.random.default_rng(3).integers(0, 4000, (side, side), dtype="<u2")
    one = a_data_set(
        Rows=side,
        Columns=side,
        BitsAllocated=16,
        BitsStored=12,
        HighBit=11,
        SamplesPerPixel=1,
        PixelRepresentation=0,
        PhotometricInterpretation="MONOCHROME2",
        NumberOfFrames=frames,
    )
    one.PixelData = b"".join(np.roll(samples, number).tobytes() for number in range(frames))
    one["PixelData"].VR = "OW"
    one.add_new(0xFFFCFFFC, "OB", b"\0\0")
    return one


@pytest.mark.parametrize("syntax", [RLE, EXPLICIT, IMPLICIT])
def test_one_frame_is_in_memory_at_a_time(tmp_path: Path, syntax: str) -> None:
    frames, side = 48, 512  # 24 MiB
    path = tmp_path / "a.dcm"
    one = an_image(frames, side)
    path.write_bytes(a_file(one))
    if syntax == EXPLICIT:
        _, bodies = asked(path, RLE)
        path.write_bytes(b"".join(bodies))
    expected = np.frombuffer(one.PixelData, "<u2").reshape(frames, side, side)
    with path.open("rb") as file:
        meta, start = decode_head(file.read(65536))
    place = Place(str(path), meta.transfer_syntax_uid, start, path.stat().st_size - start)
    store: Any = Files()
    made = tmp_path / "made.dcm"
    tracemalloc.start()
    try:
        with made.open("wb") as out:
            for number, piece in enumerate(
                answer(store, TASK.dump_json(ObjectTask(place, (syntax,))))
            ):
                if number % 2:
                    out.write(piece)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 8 << 20, most
    found = dcmread(made)
    assert found.file_meta.TransferSyntaxUID == syntax
    assert found[0xFFFCFFFC].value == b"\0\0"
    assert np.array_equal(pixel_array(found, raw=True), expected)


def test_it_is_what_is_made_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    streamed = 0
    for path in REAL_FILES:
        if not 4096 < path.stat().st_size < 1 << 20 or not is_object(path):
            continue
        source = dcmread(path)
        for syntax in (EXPLICIT, IMPLICIT, RLE):
            if syntax == source.file_meta.TransferSyntaxUID:
                continue
            whole, bodies = asked(path, syntax)
            with monkeypatch.context() as patch:
                patch.setattr(transcoding, "WHOLE", 256)
                line, pieces = asked(path, syntax)
            assert line.error == whole.error, path.name
            if line.error or len(pieces) == 1:
                continue
            streamed += 1
            one, two = (dcmread(io.BytesIO(b"".join(some))) for some in (bodies, pieces))
            assert [e for e in one if e.tag != 0x7FE00010] == [
                e for e in two if e.tag != 0x7FE00010
            ], path.name
            assert np.array_equal(pixel_array(one, raw=True), pixel_array(two, raw=True)), path.name
    assert streamed > 40
