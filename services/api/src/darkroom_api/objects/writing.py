"""Writes data sets that are made here as files; values as their VR has them."""

import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from darkroom_api.objects.pictures import NoPicture
from darkroom_common.dicom.part10 import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    FileMeta,
)
from darkroom_common.dicom.stored import stored_file
from darkroom_common.pixels.faults import Unconvertible
from darkroom_common.transcoding.transcode import write_in
from darkroom_common.validation.made_here import CREATOR

SYNTAXES: Final = {
    "none": ExplicitVRLittleEndian,
    "jpeg-lossless": JPEGLosslessSV1,
    "jpeg-ls": JPEGLSLossless,
    "jpeg2000": JPEG2000Lossless,
    "rle": RLELossless,
}
_DS: Final = 16
"""Characters of a decimal string (PS3.5 table 6.2-1)."""


def put(found: Dataset, values: Mapping[str, Any], *, empty: Sequence[str] = ()) -> None:
    """Set attributes by their keywords.

    Args:
        found: is given them.
        values: None is left out.
        empty: stand there without a value when they have none (type 2).
    """
    for keyword, value in values.items():
        if value is not None or keyword in empty:
            setattr(found, keyword, value)


def decimal(value: float | None) -> str | None:
    """Return a number as a decimal string; None stays None."""
    if value is None:
        return None
    for digits in range(15, 0, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= _DS:
            break
    return text


def coded(one: Code) -> Dataset:
    """Return an item of a code sequence (PS3.3 section 8.8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = one.value, one.scheme_designator
    item.CodeMeaning = one.meaning
    return item


def written(found: Dataset, compression: str = "none") -> bytes:
    """Return the DICOM file of a data set (PS3.10), which says by whom it was made."""
    found.InstanceCreatorUID = CREATOR
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = found.SOPClassUID
    meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    found.file_meta = meta
    made = io.BytesIO()
    dcmwrite(made, found, enforce_file_format=True)
    return _compressed(made.getvalue(), SYNTAXES[compression])


def _compressed(file: bytes, syntax: str) -> bytes:
    """Return a file in another transfer syntax.

    Raises:
        NoPicture: its pixels cannot be written so.
    """
    if syntax == ExplicitVRLittleEndian:
        return file

    def read() -> tuple[Dataset, FileMeta]:
        with stored_file(io.BytesIO(file)) as (stored, meta):
            return stored.data_set().data_set, meta

    made = io.BytesIO()
    try:
        write_in(read, made, (syntax,))
    except Unconvertible:
        raise NoPicture("Its pixels cannot be compressed without loss.") from None
    return made.getvalue()
