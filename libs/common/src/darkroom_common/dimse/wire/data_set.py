"""Identifiers and attribute lists: data sets that are small and stand in messages.

What comes may be in any character set of PS3.3 C.12.1.1.2, with code extensions.
"""

import io
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import ImplicitVRLittleEndian

from darkroom_common.dicom.heads import Encoding
from darkroom_common.dicom.limits import DEFAULT_LIMITS
from darkroom_common.dicom.walk import Unreadable, Walker
from darkroom_common.dimse.wire.pdu import ProtocolError

IMPLICIT_VR_LITTLE_ENDIAN: Final = str(ImplicitVRLittleEndian)
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
SYNTAXES: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
IDENTIFIER_LIMIT: Final = 1 << 20
"""Bytes of an identifier that are read."""


def encode_data_set(data_set: Dataset, transfer_syntax: str) -> bytes:
    """Return a data set in one of `SYNTAXES`."""
    buffer = DicomBytesIO()
    buffer.is_little_endian = True
    buffer.is_implicit_VR = transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN
    write_dataset(buffer, data_set)
    return buffer.getvalue()


def decode_data_set(data: bytes, transfer_syntax: str) -> Dataset:
    """Return the data set that a message carries.

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
        found.decode()
    except Exception as error:  # pydicom raises whatever it stumbles over
        raise ProtocolError("bad-identifier") from error
    return Dataset(found)
