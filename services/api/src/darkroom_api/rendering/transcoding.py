"""Frames and objects in another transfer syntax than the stored one. Runs in workers."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from pydicom.dataset import Dataset

from darkroom_api.dicomweb.retrieving import pixels as frames
from darkroom_api.rendering.appearance import QUALITY
from darkroom_api.rendering.stored_frames import frame_bytes
from darkroom_common.dicom.part10 import FileMeta
from darkroom_common.dicom.stored import PIXELS, StoredObject
from darkroom_common.dicom.syntaxes import EXPLICIT_LITTLE, NATIVE
from darkroom_common.errors import PermanentError
from darkroom_common.pixels import codecs
from darkroom_common.pixels.codecs import Frame, Pixels
from darkroom_common.pixels.faults import Unconvertible
from darkroom_common.transcoding.encoding import PIXEL_DATA
from darkroom_common.transcoding.streamed import Source, Streamed, is_whole, stream_in
from darkroom_common.transcoding.transcode import write_in

WHOLE: Final = 16 << 20
"""Bytes of pixel data above which an object is made frame by frame."""


@dataclass(frozen=True)
class FrameBodies:
    """Frames in one transfer syntax.

    Attributes:
        count: of the frames.
        syntax: of all of them.
        bodies: their bytes, made one by one.
    """

    count: int
    syntax: str
    bodies: Iterator[bytes]


def frames_in(
    stored: StoredObject, numbers: Sequence[int] | None, wanted: Sequence[str]
) -> FrameBodies:
    """Return frames in the first transfer syntax in which the first of them can be said.

    Args:
        stored: the object.
        numbers: from 0; None for all.
        wanted: transfer syntaxes, the best first.

    Raises:
        NoSuchFrame: there are fewer.
        NoPixels: there are none, or they cannot be told apart.
        Unconvertible: it can be said in none of them.
    """
    dataset = stored.data_set(defer=frames.DEFER, stop_at=PIXELS).data_set
    values = frames.frames_in(stored, dataset, numbers)
    bodies = frame_bytes(stored, values)
    described = Pixels.of(dataset)
    first = _decoded(next(bodies), stored, described)
    why = Unconvertible("none of these transfer syntaxes can be made")
    for syntax in wanted:
        try:
            begun = _coded(first, syntax, stored, described)
        except Unconvertible as error:
            why = error
            continue
        return FrameBodies(
            len(values.lengths), syntax, _all(begun, bodies, syntax, stored, described)
        )
    raise why


def _all(
    begun: bytes, bodies: Iterator[bytes], syntax: str, stored: StoredObject, described: Pixels
) -> Iterator[bytes]:
    yield begun
    for body in bodies:
        yield _coded(_decoded(body, stored, described), syntax, stored, described)


def _decoded(body: bytes, stored: StoredObject, described: Pixels) -> Frame:
    syntax = stored.transfer_syntax_uid
    if syntax not in NATIVE:
        return codecs.decode_frame(body, syntax, described)
    if described.subsampled or len(body) != described.frame_bytes:
        raise Unconvertible("frames of this kind cannot be compressed")
    return codecs.native_frame(body, described)


def _coded(frame: Frame, syntax: str, stored: StoredObject, described: Pixels) -> bytes:
    if stored.transfer_syntax_uid in NATIVE:
        plain = described
    else:
        plain = codecs.decoded_pixels(described, stored.transfer_syntax_uid)
    if syntax == EXPLICIT_LITTLE:
        # The client reads the header of the stored object: colours are as that says.
        by_plane = described.samples > 1 and described.planar == 1
        return (np.moveaxis(frame, -1, 0) if by_plane else frame).tobytes()
    if syntax == codecs.JPEG_BASELINE:
        return codecs.encode_baseline(frame, plain, QUALITY)
    return codecs.encode_frame(frame, syntax, plain)


def transcoded(read: Callable[[], StoredObject], wanted: Sequence[str]) -> Streamed:
    """Return an object in the first of some transfer syntaxes that it can be said in.

    What is larger than `WHOLE`, before or after, is made frame by frame.

    Raises:
        Unconvertible: it can be said in none of them.
    """
    stored = read()
    dataset = stored.data_set(defer=WHOLE).data_set
    if _is_large(dataset, stored):
        return stream_in(lambda: _source(read()), wanted)

    def read_again() -> tuple[Dataset, FileMeta]:
        stored = read()
        found = stored.data_set()
        if found.broken:
            raise Unconvertible("it cannot be read to its end")
        return found.data_set, _meta(found.data_set, stored)

    out = io.BytesIO()
    made = write_in(read_again, out, wanted)
    return Streamed(made.transfer_syntax_uid, 1, iter([out.getvalue()]))


def _is_large(dataset: Dataset, stored: StoredObject) -> bool:
    """Tell whether an object is made frame by frame: it has to be large, and of such frames."""
    if PIXEL_DATA not in dataset or not is_whole(dataset):
        return False
    try:
        pixels = Pixels.of(dataset)
        plain = codecs.decoded_pixels(pixels, stored.transfer_syntax_uid)
    except Unconvertible:
        return False
    element: Any = dataset.get_item(PIXEL_DATA, keep_deferred=True)
    size = plain.frame_bytes * plain.frames
    if stored.transfer_syntax_uid in NATIVE and (
        not codecs.compressible(pixels) or not 0 <= element.length - size <= 1
    ):
        return False
    return element.value is None or size > WHOLE


def _source(stored: StoredObject) -> Source:
    found = stored.data_set(defer=WHOLE)
    if found.broken:
        raise Unconvertible("it cannot be read to its end")
    values = frames.frames_in(stored, found.data_set, None)
    if len(values.lengths) != Pixels.of(found.data_set).frames:
        raise Unconvertible("it has another number of frames than it says")
    return Source(found.data_set, _meta(found.data_set, stored), frame_bytes(stored, values))


def _meta(dataset: Dataset, stored: StoredObject) -> FileMeta:
    try:
        named = str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)
    except AttributeError as error:
        raise PermanentError("it does not say what it is") from error
    return FileMeta(*named, stored.transfer_syntax_uid)
