"""Corrects attributes at the top of a data set and leaves every other byte as it is.

An element is replaced where it stands, put in where it belongs, or taken out; the group lengths of
the groups concerned, which are retired (PS3.5 section 7.2), go. The data set keeps its encoding and
its character set, unless all of its text is ASCII and a new value is not.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Final

from pydicom.datadict import dictionary_VR

from darkroom_common.dicom.charset import NOTHING_ASSUMED, UTF_8, Assumed, character_set
from darkroom_common.dicom.heads import DEFLATED, Encoding
from darkroom_common.dicom.inflate import Inflater
from darkroom_common.dicom.limits import NO_LIMITS
from darkroom_common.dicom.walk import Element, Walker
from darkroom_common.errors import PermanentError

CHARACTER_SET: Final = 0x00080005
_CHUNK: Final = 1 << 20
_LONGEST: Final = 0xFFFE
"""Bytes of a value with a short VR, PS3.5 section 7.1.2."""


class Unsayable(PermanentError):
    """A text has no form in the character set of a data set."""


def _element(encoding: Encoding, tag: int, value: bytes) -> bytes:
    """Return an element of text or of a UID, its value padded to an even length.

    Raises:
        Unsayable: it is too long.
    """
    vr = dictionary_VR(tag).encode()
    padded = value + (b"\x00" if vr == b"UI" else b" ") * (len(value) % 2)
    if len(padded) > _LONGEST:
        raise Unsayable("a value is too long")
    if encoding.implicit:
        return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(padded)) + padded
    order = ">" if encoding.big else "<"
    head = struct.pack(f"{order}HH2sH", tag >> 16, tag & 0xFFFF, vr, len(padded))
    return head + padded


@dataclass(frozen=True)
class Text:
    """What is known of the text of a data set.

    Attributes:
        is_ascii: whether all of it is, so that its character set may be changed.
        assumed: of what its sender sends.
    """

    is_ascii: bool = False
    assumed: Assumed = NOTHING_ASSUMED


@dataclass(frozen=True)
class _Cut:
    """Bytes of a data set that others stand for."""

    begin: int
    end: int
    tag: int


def corrected(
    source: BinaryIO,
    start: int,
    transfer_syntax_uid: str,
    values: Mapping[int, str | None],
    text: Text,
) -> Iterator[bytes]:
    """Yield the data set of a file with other values of some attributes.

    Args:
        source: the file, seekable.
        start: where its data set begins.
        transfer_syntax_uid: how it is encoded.
        values: by tag: the text, values separated by backslashes; None takes the element out.
        text: what is known of its text.

    Raises:
        Unreadable: it is no whole data set.
        Unsayable: a text has no form in its character set.
    """
    encoding, deflated = Encoding.of(transfer_syntax_uid), transfer_syntax_uid in DEFLATED
    pieces_of = partial(_data_set, source, start, deflated=deflated)
    cuts, places, declared = _looked_through(pieces_of(), encoding, frozenset(values))
    charset, texts = _in_charset(values, declared, text)
    if charset is not None:
        texts[CHARACTER_SET] = charset
    lengths = {tag & 0xFFFF0000 for tag in (*texts, *values)}
    kept = [cut for cut in cuts if cut.tag in texts or cut.tag in values or cut.tag in lengths]
    standing = {cut.tag: cut.begin for cut in reversed(kept)}
    pieces: dict[int, bytes] = {}
    for tag in sorted(texts):
        at = standing.get(tag, places[tag])
        pieces[at] = pieces.get(at, b"") + _element(encoding, tag, texts[tag])
    plain = _spliced(pieces_of(), kept, pieces)
    yield from _deflated(plain) if deflated else plain


def _data_set(source: BinaryIO, start: int, *, deflated: bool) -> Iterator[bytes]:
    """Yield the bytes of a data set, inflated."""
    source.seek(start)
    inflater = Inflater(NO_LIMITS.inflated_bytes) if deflated else None
    while piece := source.read(_CHUNK):
        if inflater is None:
            yield piece
        else:
            yield from inflater.feed(piece)
    if inflater is not None:
        inflater.finish()


def _looked_through(
    pieces: Iterator[bytes], encoding: Encoding, wanted: frozenset[int]
) -> tuple[list[_Cut], dict[int, int], str]:
    """Return what may have to go, where each tag belongs, and the character set."""
    searched = {*wanted, CHARACTER_SET}
    searched |= {tag & 0xFFFF0000 for tag in searched}
    cuts: list[_Cut] = []
    places: dict[int, int] = {}
    end = 0

    def on_element(element: Element) -> None:
        nonlocal end
        for tag in searched:
            if tag < element.tag and tag not in places:
                places[tag] = end
        if element.tag in searched:
            cuts.append(_Cut(end, element.end, element.tag))
        end = element.end

    walker = Walker(
        encoding, wanted=frozenset({CHARACTER_SET}), on_element=on_element, limits=NO_LIMITS
    )
    for piece in pieces:
        walker.feed(piece)
    walker.finish()
    declared = walker.values.get(CHARACTER_SET, (b"", 0))[0].decode("latin-1").rstrip(" \x00")
    return cuts, {tag: places.get(tag, end) for tag in searched}, declared


def _in_charset(
    values: Mapping[int, str | None], declared: str, text: Text
) -> tuple[bytes | None, dict[int, bytes]]:
    """Return the new character set, None for the one there is, and the values' bytes."""
    given = {tag: value for tag, value in values.items() if value is not None}
    texts = _said(given, declared, (declared, text.assumed.name), text.assumed)
    if texts is not None:
        return None, texts
    texts = _said(given, UTF_8, (UTF_8,), text.assumed) if text.is_ascii else None
    if texts is None:
        raise Unsayable("a text has no form in the character set of an object")
    return UTF_8.encode(), texts


def _said(
    given: Mapping[int, str], declared: str, names: Sequence[str], assumed: Assumed
) -> dict[int, bytes] | None:
    """Return texts in the first of some character sets in which all of them read back."""
    reads = character_set(declared, assumed)
    for name in names:
        writes = character_set(name)
        try:
            texts = {tag: writes.encode(text, dictionary_VR(tag)) for tag, text in given.items()}
        except UnicodeEncodeError:
            continue
        read = {tag: reads.decode(raw, dictionary_VR(tag))[0] for tag, raw in texts.items()}
        if read == given:
            return texts
    return None


def _spliced(
    pieces: Iterator[bytes], cuts: Sequence[_Cut], added: Mapping[int, bytes]
) -> Iterator[bytes]:
    """Yield bytes without what is cut, and with what is added at some positions."""
    marks = sorted({*added, *(cut.begin for cut in cuts), *(cut.end for cut in cuts)})
    starting = {cut.begin: cut.end for cut in cuts}
    at, until = 0, 0  # where we are, and up to where it is cut
    waiting = iter(marks)
    mark = next(waiting, None)
    for piece in pieces:
        view, used = memoryview(piece), 0
        while used < len(view) or mark == at:
            if mark == at:
                yield added.get(at, b"")
                until = max(until, starting.get(at, 0))
                mark = next(waiting, None)
                continue
            step = len(view) - used if mark is None else min(len(view) - used, mark - at)
            if at >= until:
                yield bytes(view[used : used + step])
            used, at = used + step, at + step
    while mark is not None:
        yield added.get(mark, b"")
        mark = next(waiting, None)


def _deflated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield a deflated data set, PS3.5 section A.5, of an even length."""
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    size = 0
    for piece in pieces:
        chunk = stream.compress(piece)
        size += len(chunk)
        yield chunk
    chunk = stream.flush()
    size += len(chunk)
    yield chunk + b"\x00" * (size % 2)
