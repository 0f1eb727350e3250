"""Reads stored objects: the one way from their bytes to a data set.

What encodes a data set was negotiated when it came, and stands in the head that was written then:
nothing within the data set decides on it. It is read by the same walk as receiving judged it by,
so what was taken can be read. Sequences are followed here, within limits; single values are left
to pydicom, which decodes them when they are asked for.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from pydicom import config
from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import private_dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement, empty_value_for_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import UID

from darkroom_common.dicom.heads import DEFLATED, UNDEFINED, Bytes, Encoding
from darkroom_common.dicom.inflate import InflatedFile
from darkroom_common.dicom.limits import DEFAULT_LIMITS, ReadLimits
from darkroom_common.dicom.part10 import HEAD_LIMIT, FileMeta, decode_head
from darkroom_common.dicom.walk import Unreadable, Walker

config.settings.reading_validation_mode = config.IGNORE
PIXELS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
"""Tags of pixel data: of floating point numbers and whole ones (PS3.3 C.7.6.24, C.7.6.3)."""
_PIECE: Final = 1 << 16
_CHARACTER_SET: Final = 0x00080005
_PRIVATE: Final = 0x10000
_CREATORS: Final = range(0x10, 0x100)
_GUESSED: Final = 1 << 20
"""Bytes of private elements that are read as sequences because pydicom's dictionary says so."""

Elements = dict[BaseTag, DataElement | RawDataElement]


@dataclass(frozen=True)
class StoredObject:
    """A data set among the bytes of a file.

    Attributes:
        file: seekable; of a deflated object it is the inflated data set.
        transfer_syntax_uid: that was negotiated.
        start: where the data set begins in `file`, and with it every `value_tell`.
        size: its bytes.
        inflated: whether positions are none of the stored object.
        frames: where some of its compressed frames are said to be, by their numbers from 0.
    """

    file: BinaryIO
    transfer_syntax_uid: str
    start: int
    size: int
    inflated: bool = False
    frames: Mapping[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def encoding(self) -> Encoding:
        """How its elements are encoded."""
        return Encoding.of(self.transfer_syntax_uid)

    def read(self, start: int, count: int) -> bytes:
        """Return bytes of `file`, fewer only at its end."""
        self.file.seek(start)
        return self.file.read(count)

    def data_set(
        self,
        *,
        defer: int | None = None,
        stop_at: frozenset[int] = frozenset(),
        limits: ReadLimits = DEFAULT_LIMITS,
    ) -> "Found":
        """Read the data set.

        Args:
            defer: bytes of a value, above which it is not read: the `RawDataElement` has the value
                None, and says where it is by `value_tell` and `length`.
            stop_at: top-level tags; the first of them is the last element that is returned, its
                value located, but not read.
            limits: bounds on what is read; what is beyond is as if it were not there.

        Raises:
            OSError: the file cannot be read.
        """
        builder = _Builder(self, defer, stop_at)
        walker = Walker(self.encoding, watcher=builder, limits=limits)
        broken = ""
        at = 0
        try:
            while at < self.size:
                builder.piece = self.read(self.start + at, min(_PIECE, self.size - at))
                builder.position = at
                if not builder.piece:
                    break
                walker.feed(builder.piece)
                at += len(builder.piece)
                passed = min(walker.ahead, self.size - at)
                if passed:
                    walker.skip(passed)
                    at += passed
            walker.finish()
        except _Stopped:
            pass
        except Unreadable as error:
            broken = error.code
        return Found(builder.finish(), frozenset(walker.oddities), broken)


@dataclass(frozen=True)
class Found:
    """A data set that was read.

    Attributes:
        data_set: with file meta that says its transfer syntax. Sequences are elements with items;
            anything else is a `RawDataElement`. A sequence that is none has its bytes as UN.
        oddities: what is against the standard in it, see `dicom.walk`.
        broken: the code of what keeps the rest from being read; empty when it is whole.
    """

    data_set: Dataset
    oddities: frozenset[str]
    broken: str


@contextmanager
def stored_object(
    file: BinaryIO, transfer_syntax_uid: str, start: int, size: int
) -> Iterator[StoredObject]:
    """Hold a stored object ready to be read, inflated if it is deflated.

    Args:
        file: the object.
        transfer_syntax_uid: that was negotiated.
        start: where its data set begins.
        size: bytes of the data set as it is stored.

    Raises:
        Unreadable: its deflated stream is damaged.
        OSError: the file cannot be read.
    """
    if transfer_syntax_uid not in DEFLATED:
        yield StoredObject(file, transfer_syntax_uid, start, size)
        return
    raw = InflatedFile(file, start)
    with io.BufferedReader(raw) as inflated:
        yield StoredObject(inflated, transfer_syntax_uid, 0, raw.data_set_size, inflated=True)


@contextmanager
def stored_file(file: BinaryIO) -> Iterator[tuple[StoredObject, FileMeta]]:
    """Hold an object ready by what its own head says: that is what was negotiated.

    Raises:
        Unreadable: it has no head as ours, or its deflated stream is damaged.
        OSError: the file cannot be read.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    meta, start = decode_head(file.read(HEAD_LIMIT))
    with stored_object(file, meta.transfer_syntax_uid, start, size - start) as found:
        yield found, meta


class _Stopped(Exception):
    """An element to stop at was met."""


@dataclass
class _Level:
    """What is open: a data set with its elements, a sequence with its items, or fragments."""

    tag: int = 0
    vr: bytes = b""
    start: int = 0
    elements: Elements = field(default_factory=dict)
    items: list[Dataset] | None = None
    charset: Any = default_encoding
    damaged: bool = False


class _Builder:
    """Builds a data set of what a walk meets: see `Watcher`."""

    def __init__(self, stored: StoredObject, defer: int | None, stop_at: frozenset[int]) -> None:
        self.piece: Bytes = b""
        """What the walk is fed, and where it is in the data set."""
        self.position = 0
        self._stored = stored
        self._encoding = stored.encoding
        self._defer = defer
        self._stop_at = stop_at
        self._levels = [_Level()]
        self._with_sequences: list[Dataset] = []
        self._guessed = 0

    def value(self, tag: int, vr: bytes, start: int, length: int) -> None:
        level = self._levels[-1]
        if not (tag or length):
            return  # zeros at the end
        stops = tag in self._stop_at and len(self._levels) == 1
        value: bytes | None = None
        if not length:
            found: Any = empty_value_for_VR(vr.decode() or None, raw=True)
            value = found
        elif not stops and not self._is_deferred(tag, length):
            value = self._bytes(start, length)
            if len(value) < length:
                return  # the file is cut: the walk will tell
        self._add(self._element(tag, vr, start, length, value))
        if tag == _CHARACTER_SET and value:
            text = value.decode("latin-1").replace("\0", "")
            level.charset = convert_encodings([part.strip() for part in text.split("\\")])
        if stops:
            raise _Stopped

    def sequence(self, tag: int, vr: bytes, start: int) -> None:
        self._levels.append(_Level(tag, vr, start, items=[], charset=self._levels[-1].charset))

    def item(self) -> None:
        self._levels.append(_Level(charset=self._levels[-1].charset))

    def fragments(self, tag: int, vr: bytes, start: int) -> None:
        if tag in self._stop_at and len(self._levels) == 1:
            self._add(self._element(tag, vr, start, UNDEFINED, None))
            raise _Stopped
        self._levels.append(_Level(tag, vr, start))

    def closed(self, end: int) -> None:
        level = self._levels.pop()
        if level.items is not None:
            self._close_sequence(level, end)
        elif level.tag:
            length = end - level.start
            deferred = self._is_deferred(level.tag, length)
            value = None if deferred else self._bytes(level.start, length)
            self._add(self._element(level.tag, level.vr, level.start, UNDEFINED, value))
        else:
            items = self._levels[-1].items
            if items is not None:
                items.append(self._made(level))

    def damaged(self, depth: int) -> None:
        del self._levels[depth + 1 :]
        around = self._levels[-1] if self._levels[-1].items is not None else self._levels[-2]
        around.damaged = True

    def is_sequence(self, tag: int, length: int) -> bool:
        if self._guessed + length > _GUESSED or not self._is_private_sequence(tag):
            return False
        self._guessed += length
        return True

    def finish(self) -> Dataset:
        """Return the data set, after the last element that could be read."""
        found = self._made(self._levels[0])
        found.file_meta = FileMetaDataset()
        found.file_meta.TransferSyntaxUID = UID(self._stored.transfer_syntax_uid)
        for data_set in reversed(self._with_sequences):  # the outer ones first
            for tag in list(data_set.keys()):
                element: Any = data_set.get_item(tag, keep_deferred=True)
                if element.VR == "SQ" and not tag.is_private and not element.is_raw:
                    data_set[tag] = element  # pydicom hands Pixel Representation down by this
        return found

    def _is_private_sequence(self, tag: int) -> bool:
        """Tell whether pydicom's dictionary has it as a sequence of its creator (PS3.5 7.8.1)."""
        group, number = tag >> 16, tag & 0xFFFF
        creator = self._levels[-1].elements.get(BaseTag(group << 16 | number >> 8))
        if number < _CREATORS.stop or creator is None or not isinstance(creator.value, bytes):
            return False
        try:
            vr = private_dictionary_VR(tag, creator.value.decode("latin-1").strip("\0 "))
        except KeyError:
            return False
        return vr == "SQ"

    def _close_sequence(self, level: _Level, end: int) -> None:
        tag = BaseTag(level.tag)
        tell = self._stored.start + level.start
        if not level.damaged:
            items = Sequence(level.items)
            self._add(DataElement(tag, "SQ", items, tell, already_converted=True))
            return
        length = end - level.start
        if self._is_deferred(level.tag, length):
            self._add(self._element(level.tag, b"UN", level.start, length, None))
        else:
            self._add(_unknown(tag, self._bytes(level.start, length), tell))

    def _made(self, level: _Level) -> Dataset:
        found = Dataset(level.elements, parent_encoding=level.charset)
        implicit, big = self._encoding
        found.set_original_encoding(implicit, not big, level.charset)
        if any(element.VR == "SQ" for element in level.elements.values()):
            self._with_sequences.append(found)
        return found

    def _add(self, element: DataElement | RawDataElement) -> None:
        self._levels[-1].elements.setdefault(BaseTag(element.tag), element)

    def _element(
        self, tag: int, vr: bytes, start: int, length: int, value: bytes | None
    ) -> DataElement | RawDataElement:
        tell = self._stored.start + start
        if tag & _PRIVATE and vr in (b"", b"UN") and value and self._is_private_sequence(tag):
            return _unknown(BaseTag(tag), value, tell)  # or pydicom reads it without a limit
        return RawDataElement(
            BaseTag(tag),
            vr.decode() or None,
            length,
            value,
            tell,
            self._encoding.implicit,
            not self._encoding.big,
        )

    def _is_deferred(self, tag: int, length: int) -> bool:
        return self._defer is not None and length > self._defer and tag != _CHARACTER_SET

    def _bytes(self, start: int, length: int) -> bytes:
        at = start - self.position
        if at >= 0 and at + length <= len(self.piece):
            return bytes(self.piece[at : at + length])
        return self._stored.read(self._stored.start + start, length)


def _unknown(tag: BaseTag, value: bytes, tell: int) -> DataElement:
    """Return an element of VR UN, whatever pydicom's dictionary says."""
    element = DataElement(tag, "OB", value, tell, already_converted=True)
    element.VR = "UN"
    return element
