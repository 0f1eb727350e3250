"""Bulk data in their place: native values as they came, compressed frames as fragments."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from struct import pack
from typing import Any, Final

from darkroom_common.dicom.heads import UNDEFINED
from darkroom_common.stow.media import MediaType
from darkroom_ingest.stow.code_streams import (
    EXPLICIT_LITTLE,
    CodeStream,
    default_of,
    is_native,
    look,
    syntaxes_of,
)
from darkroom_ingest.stow.encoding import PIXEL_DATA, Bulk, Encoded, Unsayable, encode_json, head_of
from darkroom_ingest.stow.scratch import Range

_FRAME: Final = re.compile(r"(.+)/frames/(\d{1,9})")
_ITEM: Final = (0xFFFE, 0xE000)
_SEQUENCE_END: Final = (0xFFFE, 0xE0DD)
_OCTETS: Final = "application/octet-stream"
_LONGEST: Final = 0xFFFFFFFE
_CONSUMER: Final = re.compile(r"(image|video)/.+")
_PHOTOMETRIC: Final = "00280004"
OF_PIXELS: Final = "00280002"
"""Samples per Pixel: who says it describes pixels."""


@dataclass
class BulkPart:
    """A part that is no metadata.

    Attributes:
        location: as its Content-Location says.
        kind: its media type.
        where: its bytes.
        beginning: the first of them, of a compressed one.
    """

    location: str
    kind: MediaType
    where: Range
    beginning: bytearray = field(default_factory=bytearray)
    stream: CodeStream = field(default_factory=CodeStream)

    @property
    def is_compressed(self) -> bool:
        """Whether it is a compressed frame, or a video."""
        if self.kind.kind == _OCTETS:
            return not is_native(self.kind.get("transfer-syntax"))
        return bool(syntaxes_of(self.kind.kind))

    @property
    def uri(self) -> str:
        """What metadata refer to it by: of one of several frames that of all."""
        framed = _FRAME.fullmatch(self.location) if self.is_compressed else None
        return framed[1] if framed else self.location

    @property
    def number(self) -> int:
        """The number of the frame; 0 when it is not said."""
        framed = _FRAME.fullmatch(self.location)
        return int(framed[2]) if framed else 0

    def look(self) -> None:
        """Read what it says of itself, after its last byte."""
        if self.is_compressed:
            self.stream = look(bytes(self.beginning))
        self.beginning = bytearray()

    def transfer_syntax_uid(self) -> str:
        """Return its transfer syntax.

        Raises:
            Unsayable: its media type, its parameter and its bytes contradict each other.
        """
        said, found = self.kind.get("transfer-syntax"), self.stream.transfer_syntax_uid
        possible = syntaxes_of(self.kind.kind)
        if possible and said and said not in possible:
            raise Unsayable("transfer-syntax")
        if possible and found and found not in possible:
            raise Unsayable("transfer-syntax")
        return said or found or default_of(self.kind.kind)


Piece = bytes | Range


@dataclass(frozen=True)
class Made:
    """The bytes of an object's data set, and how they are encoded."""

    pieces: Sequence[Piece]
    transfer_syntax_uid: str


def make(
    encoded: Encoded, data_set: Mapping[str, Any], bulk: Mapping[str, Sequence[BulkPart]]
) -> Made:
    """Return an object with its bulk data in their places.

    Args:
        encoded: metadata.
        data_set: the same as JSON.
        bulk: by what metadata refer to it; all that they refer to is there.

    Raises:
        Unsayable: bulk data do not fit.
    """
    syntax = EXPLICIT_LITTLE
    for one in encoded.bulk:
        parts = bulk[one.uri]
        if parts[0].is_compressed:
            if one.tag != PIXEL_DATA or not one.outermost:
                raise Unsayable("bad-bulk-data")
            found = {part.transfer_syntax_uid() for part in parts}
            if len(found) != 1 or "" in found:
                raise Unsayable("transfer-syntax")
            (syntax,) = found
            encoded = _described(encoded, data_set, parts[0].stream)
        elif one.tag == PIXEL_DATA and _CONSUMER.fullmatch(parts[0].kind.kind):
            raise Unsayable("transfer-syntax")  # a format that no object can hold
    pieces: list[Piece] = []
    for piece in encoded.pieces:
        if isinstance(piece, bytes):
            pieces.append(piece)
        else:
            pieces += _placed(piece, bulk[piece.uri])
    return Made(pieces, syntax)


def _described(encoded: Encoded, data_set: Mapping[str, Any], stream: CodeStream) -> Encoded:
    """Add what metadata leave to the code stream to say of its pixels (PS3.18 10.5.2)."""
    if OF_PIXELS in data_set or not stream.pixels:
        return encoded
    said = {
        f"{tag:08X}": {"vr": "US", "Value": [value]} for tag, value in stream.pixels.items()
    } | ({_PHOTOMETRIC: {"vr": "CS", "Value": [stream.photometric]}} if stream.photometric else {})
    return encode_json(said | dict(data_set))


def _placed(bulk: Bulk, parts: Sequence[BulkPart]) -> Iterator[Piece]:
    if parts[0].is_compressed:
        yield from _fragments(parts)
        return
    if len(parts) > 1:
        raise Unsayable("bad-bulk-data")
    (where,) = (part.where for part in parts)
    if where.size > _LONGEST:
        raise Unsayable("too-large")
    yield head_of(bulk.tag, bulk.vr, where.size + where.size % 2)
    yield where
    yield b"\x00" * (where.size % 2)


def _fragments(parts: Sequence[BulkPart]) -> Iterator[Piece]:
    """Yield pixel data of one fragment a frame, behind an empty offset table (PS3.5 A.4)."""
    yield head_of(PIXEL_DATA, "OB", UNDEFINED) + pack("<HHL", *_ITEM, 0)
    for part in sorted(parts, key=lambda one: one.number):
        start = part.stream.start
        size = part.where.size - start
        if not 0 < size <= _LONGEST:
            raise Unsayable("bad-bulk-data")
        yield pack("<HHL", *_ITEM, size + size % 2)
        yield Range(part.where.start + start, size)
        yield b"\x00" * (size % 2)
    yield pack("<HHL", *_SEQUENCE_END, 0)
