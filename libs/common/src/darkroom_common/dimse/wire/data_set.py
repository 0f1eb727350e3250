"""Identifiers and attribute lists: data sets that are small and stand in messages.

What comes may be in any character set of PS3.3 C.12.1.1.2, with code extensions.
"""

import io
import struct
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_data_element, write_dataset
from pydicom.uid import ImplicitVRLittleEndian

from darkroom_common.dicom.charset import NOTHING_ASSUMED, Assumed, TextReader
from darkroom_common.dicom.heads import Encoding
from darkroom_common.dicom.limits import DEFAULT_LIMITS
from darkroom_common.dicom.text_elements import CHARACTER_SET, decode_text
from darkroom_common.dicom.walk import Unreadable, Walker
from darkroom_common.dimse.wire.pdu import ProtocolError

IMPLICIT_VR_LITTLE_ENDIAN: Final = str(ImplicitVRLittleEndian)
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
SYNTAXES: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
_ITEM: Final = struct.Struct("<HHL")
_SEQUENCE: Final = struct.Struct("<HH2sHL")
IDENTIFIER_LIMIT: Final = 1 << 20
"""Bytes of an identifier that are read."""


def encode_data_set(data_set: Dataset, transfer_syntax: str) -> bytes:
    """Return a data set in one of `SYNTAXES`; text that is encoded stays as it is."""
    implicit = transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN
    if CHARACTER_SET in data_set:
        return _encoded(data_set, implicit=implicit)
    buffer = _buffer(implicit=implicit)
    write_dataset(buffer, data_set)
    return buffer.getvalue()


def _buffer(*, implicit: bool) -> DicomBytesIO:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, implicit
    return buffer


def _encoded(data_set: Dataset, *, implicit: bool) -> bytes:
    """Encode a data set element by element: pydicom's way decodes text and encodes it again."""
    buffer = _buffer(implicit=implicit)
    for tag in sorted(data_set.keys()):
        element: Any = data_set.get_item(tag)
        if element.VR != "SQ":
            write_data_element(buffer, element)
            continue
        items = [_encoded(item, implicit=implicit) for item in element.value]
        body = b"".join(_ITEM.pack(0xFFFE, 0xE000, len(item)) + item for item in items)
        if implicit:
            buffer.write(_ITEM.pack(tag.group, tag.element, len(body)) + body)
        else:
            buffer.write(_SEQUENCE.pack(tag.group, tag.element, b"SQ", 0, len(body)) + body)
    return buffer.getvalue()


def decode_data_set(
    data: bytes, transfer_syntax: str, assumed: Assumed = NOTHING_ASSUMED
) -> Dataset:
    """Return the data set that a message carries, its text decoded.

    Args:
        data: its bytes.
        transfer_syntax: one of `SYNTAXES`.
        assumed: of the text of whoever has sent it.

    Raises:
        ProtocolError: it is not whole, or cannot be read.
    """
    implicit = transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN
    walker = Walker(Encoding(implicit), limits=DEFAULT_LIMITS)
    try:
        walker.feed(data)
        walker.finish()
    except Unreadable as error:
        raise ProtocolError("bad-identifier") from error
    try:
        found: Any = read_dataset(io.BytesIO(data), implicit, is_little_endian=True)
        decode_text(found, TextReader(assumed))
    except Exception as error:  # pydicom raises whatever it stumbles over
        raise ProtocolError("bad-identifier") from error
    return Dataset(found)
