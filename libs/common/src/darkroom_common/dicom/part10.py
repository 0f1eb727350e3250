"""The DICOM file format: preamble, prefix and file meta information (PS3.10 section 7.1)."""

import struct
from dataclasses import dataclass
from typing import Final, Literal

from darkroom_common.dicom.heads import Encoding
from darkroom_common.dicom.walk import Unreadable, Walker

_LEAST: Final = 144  # bytes: preamble, prefix, group length
PREAMBLE: Final = bytes(128)
PREFIX: Final = b"DICM"
HEAD_LIMIT: Final = 1 << 16
"""Bytes; no head of ours is longer."""
IMPLEMENTATION_CLASS_UID: Final = "2.25.216273817461907462381927461829374651"
IMPLEMENTATION_VERSION_NAME: Final = "DARKROOM_0_1"
AS_IT_IS: Final = b"as-it-is"
"""Private information (0002,0102) of a file that an operator has released though it is broken."""
STOW: Final = b"stow"
"""The same of a file that came by STOW-RS; both are joined by a space."""
_META: Final = (0x00020002, 0x00020003, 0x00020010, 0x00020016, 0x00020018)
_PRIVATE: Final = 0x00020102
_WANTED: Final = frozenset({*_META, _PRIVATE})


@dataclass(frozen=True)
class FileMeta:
    """What the head of a file says of the data set that follows."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str = ""
    called_ae_title: str = ""
    as_it_is: bool = False
    """An operator has released it from quarantine though it is not whole."""
    source: Literal["dimse", "stow"] = "dimse"
    """By what it has come to us."""


def _element(tag: tuple[int, int], vr: bytes, value: bytes) -> bytes:
    if vr in (b"OB", b"UN"):
        return struct.pack("<HH2sHL", *tag, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", *tag, vr, len(value)) + value


def _uid(value: str) -> bytes:
    raw = value.encode("latin-1")
    return raw + b"\x00" * (len(raw) % 2)


def _text(value: str) -> bytes:
    raw = value.encode("latin-1", "replace")
    return raw + b" " * (len(raw) % 2)


def encode_head(meta: FileMeta) -> bytes:
    """Return preamble, prefix and file meta; the data set's bytes follow as they were received."""
    words = [AS_IT_IS] * meta.as_it_is + [STOW] * (meta.source == "stow")
    said = b" ".join(words)
    private = [
        _element((2, 0x0100), b"UI", _uid(IMPLEMENTATION_CLASS_UID)),
        _element((2, 0x0102), b"OB", said + b"\x00" * (len(said) % 2)),
    ]
    body = b"".join(
        [
            _element((2, 0x0001), b"OB", b"\x00\x01"),
            _element((2, 0x0002), b"UI", _uid(meta.sop_class_uid)),
            _element((2, 0x0003), b"UI", _uid(meta.sop_instance_uid)),
            _element((2, 0x0010), b"UI", _uid(meta.transfer_syntax_uid)),
            _element((2, 0x0012), b"UI", _uid(IMPLEMENTATION_CLASS_UID)),
            _element((2, 0x0013), b"SH", _text(IMPLEMENTATION_VERSION_NAME)),
            _element((2, 0x0016), b"AE", _text(meta.calling_ae_title)),
            _element((2, 0x0017), b"AE", _text(meta.calling_ae_title)),
            _element((2, 0x0018), b"AE", _text(meta.called_ae_title)),
            *(private if words else []),
        ]
    )
    group_length = _element((2, 0), b"UL", struct.pack("<L", len(body)))
    return PREAMBLE + PREFIX + group_length + body


def decode_head(data: bytes | memoryview) -> tuple[FileMeta, int]:
    """Return (file meta, offset of the data set) of a file's first bytes.

    Raises:
        Unreadable: it is not a DICOM file, or its head is cut.
    """
    if bytes(data[128:132]) != PREFIX:
        raise Unreadable("no-prefix", 128)
    if len(data) < _LEAST:
        raise Unreadable("truncated", len(data))
    group, number, vr, size, length = struct.unpack_from("<HH2sHL", data, 132)
    if (group, number, vr, size) != (2, 0, b"UL", 4):
        raise Unreadable("no-group-length", 132)
    end = 144 + length
    if end > len(data):
        raise Unreadable("truncated", len(data))
    walker = Walker(Encoding(implicit=False), wanted=_WANTED)
    walker.feed(data[144:end])
    walker.finish()
    sop_class, sop_instance, transfer_syntax, calling, called = (
        walker.values.get(tag, (b"", 0))[0].decode("latin-1").strip("\x00 ") for tag in _META
    )
    said = walker.values.get(_PRIVATE, (b"", 0))[0].strip(b"\x00").split(b" ")
    meta = FileMeta(
        sop_class,
        sop_instance,
        transfer_syntax,
        calling,
        called,
        as_it_is=AS_IT_IS in said,
        source="stow" if STOW in said else "dimse",
    )
    return meta, end
