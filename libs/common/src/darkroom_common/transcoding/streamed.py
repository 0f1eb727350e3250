"""A large object in another transfer syntax, made while it is sent: one frame is in memory.

What `transcode` makes of the whole object is the same, but for two things: of frames that are
compressed there is no table of offsets (PS3.5 A.4 lets it be empty), since it stands before them;
and a later frame that cannot be made ends what has begun.
"""

import io
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from darkroom_common.dicom.part10 import FileMeta, encode_head
from darkroom_common.pixels import codecs
from darkroom_common.pixels.codecs import Pixels
from darkroom_common.pixels.faults import Unconvertible
from darkroom_common.transcoding.converted import IMPLICIT, NATIVE_TARGETS
from darkroom_common.transcoding.encoding import PIXEL_DATA, reencode
from darkroom_common.transcoding.transcode import (
    NATIVE,
    TABLES,
    UNDEFINED,
    WHOLE_OCTETS,
    decode_nested,
    describe,
    possible,
    write_elements,
    write_header,
)

_NO_TABLE: Final = struct.pack("<HH4sLHHL", 0x7FE0, 0x0010, b"OB\0\0", UNDEFINED, 0xFFFE, 0xE000, 0)
_END: Final = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


@dataclass(frozen=True)
class Source:
    """An object whose frames are read when they are asked for.

    Attributes:
        dataset: with all elements; that of the pixel data has no value. It is changed.
        meta: of the object as it is stored.
        frames: the bytes of each frame as they are stored, in little endian.
    """

    dataset: Dataset
    meta: FileMeta
    frames: Iterator[bytes]


@dataclass(frozen=True)
class Streamed:
    """A DICOM file, piece by piece.

    Attributes:
        syntax: its transfer syntax.
        count: of the pieces.
        pieces: each is made when it is asked for.

    Raises:
        Unconvertible: a later frame cannot be made.
    """

    syntax: str
    count: int
    pieces: Iterator[bytes | memoryview]


def stream_in(read: Callable[[], Source], wanted: Sequence[str]) -> Streamed:
    """Return an object in the first of some transfer syntaxes that its first frame can be said in.

    Args:
        read: reads it, for each syntax that is tried.
        wanted: transfer syntaxes, the best first.

    Raises:
        Unconvertible: none of them can be made; the text says why for the last one tried.
    """
    source = read()
    why = Unconvertible("none of the transfer syntaxes that are taken can be made")
    for syntax in possible(source.dataset, source.meta.transfer_syntax_uid, wanted):
        try:
            return _streamed(source, syntax)
        except Unconvertible as error:
            why = error
            source = read()  # the attempt has changed it
    raise why


def _streamed(source: Source, syntax: str) -> Streamed:
    dataset, stored, implicit = source.dataset, source.meta.transfer_syntax_uid, syntax == IMPLICIT
    del dataset[PIXEL_DATA]
    reencode(dataset, implicit=implicit)
    if stored not in NATIVE:
        decode_nested(dataset, stored)
    pixels = Pixels.of(dataset)
    frames, plain = _frames(source, pixels, syntax)
    for tag in TABLES:
        dataset.pop(tag, None)
    if stored in codecs.ALWAYS_LOSSY and "LossyImageCompression" not in dataset:
        dataset.LossyImageCompression = "01"
    native = syntax in NATIVE_TARGETS
    describe(dataset, pixels, plain if native else codecs.encoded_pixels(plain, syntax))
    bodies = frames if native else map(_item, frames)
    first = next(bodies)  # what cannot be made is told before anything is sent
    head = io.BytesIO()
    head.write(encode_head(replace(source.meta, transfer_syntax_uid=syntax)))
    write_elements(head, _part(dataset, before=True), implicit=implicit, pixels=None)
    length = plain.frame_bytes * plain.frames
    if native:
        vr = "OW" if plain.bits_allocated > WHOLE_OCTETS else "OB"
        write_header(head, vr, length + length % 2, implicit=implicit)
    else:
        head.write(_NO_TABLE)
    tail = io.BytesIO()
    tail.write(bytes(length % 2) if native else _END)
    write_elements(tail, _part(dataset, before=False), implicit=implicit, pixels=None)

    def pieces() -> Iterator[bytes]:
        yield head.getvalue()
        yield first
        yield from bodies
        yield tail.getvalue()

    return Streamed(syntax, plain.frames + 2, pieces())


def _frames(source: Source, pixels: Pixels, syntax: str) -> tuple[Iterator[bytes], Pixels]:
    """Return what each frame becomes, and how decoded ones are described."""
    stored = source.meta.transfer_syntax_uid
    if stored not in NATIVE:
        if stored not in codecs.DECODABLE:
            raise Unconvertible("its transfer syntax cannot be decoded")
        plain = codecs.decoded_pixels(pixels, stored)
        decoded = (codecs.decode_frame(body, stored, pixels) for body in source.frames)
    else:
        plain = pixels
        if syntax in NATIVE_TARGETS:
            return source.frames, plain
        decoded = (codecs.native_frame(body, pixels) for body in source.frames)
    if syntax in NATIVE_TARGETS:
        if plain.frame_bytes * plain.frames >= UNDEFINED - 1:
            raise Unconvertible("uncompressed it is too long for one value")
        return (frame.tobytes() for frame in decoded), plain
    if not codecs.compressible(plain):
        raise Unconvertible("pixels of this kind cannot be compressed without loss")
    return (codecs.encode_frame(frame, syntax, plain) for frame in decoded), plain


def _item(body: bytes) -> bytes:
    padded = body + bytes(len(body) % 2)
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(padded)) + padded


def _part(dataset: Dataset, *, before: bool) -> Dataset:
    """Return the elements before, or behind, the pixel data, with the character set of all."""
    part = Dataset()
    tags = [tag for tag in list(dataset.keys()) if (tag < PIXEL_DATA) == before]
    part.update({tag: dataset.get_item(tag) for tag in tags})
    return part


def is_whole(elements: Dataset) -> bool:
    """Tell whether every value but that of the pixel data has been read."""
    for tag in list(elements.keys()):
        element: Any = elements.get_item(tag, keep_deferred=True)
        if element.VR == "SQ":
            if not all(map(is_whole, element.value)):
                return False
        elif isinstance(element, RawDataElement) and element.value is None and tag != PIXEL_DATA:
            return False
    return True
