"""Data sets of objects that are made here: plain functions, from values to a data set."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from pydicom.dataset import Dataset

from darkroom_api.objects.documents import check
from darkroom_api.objects.pictures import Picture, decode
from darkroom_api.objects.writing import put, written

SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
GRAYSCALE_BYTE: Final = "1.2.840.10008.5.1.4.1.1.7.2"
GRAYSCALE_WORD: Final = "1.2.840.10008.5.1.4.1.1.7.3"
TRUE_COLOR: Final = "1.2.840.10008.5.1.4.1.1.7.4"
ENCAPSULATED_PDF: Final = "1.2.840.10008.5.1.4.1.1.104.1"
_EQUIPMENT: Final = {"Manufacturer": "Darkroom", "SecondaryCaptureDeviceManufacturer": "Darkroom"}
"""General Equipment and SC Equipment (PS3.3 sections C.7.5.1 and C.8.6.1)."""
_IMAGE: Final = {"ImageType": ["ORIGINAL", "SECONDARY"], "PatientOrientation": None}
"""General Image (PS3.3 section C.7.6.1)."""
_PAGES: Final = 0x00182002
"""Frame Label Vector: pages stand one after the other; Frame Time would have them move."""
_COLOUR: Final = {
    "SamplesPerPixel": 3,
    "PhotometricInterpretation": "RGB",
    "PlanarConfiguration": 0,
}
_GRAY: Final = {
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "PresentationLUTShape": "IDENTITY",
    "RescaleIntercept": "0",
    "RescaleSlope": "1",
    "RescaleType": "US",
}
"""Image Pixel, and what SC Multi-frame Image asks of grey values (sections C.7.6.3, C.8.6.3)."""
_PDF: Final[Mapping[str, Any]] = {
    "MIMETypeOfEncapsulatedDocument": "application/pdf",
    "AcquisitionDateTime": None,
    "ConceptNameCodeSequence": [],
}
"""Encapsulated Document (PS3.3 section C.24.2)."""


def secondary_capture(attributes: Mapping[str, Any], body: bytes) -> bytes:
    """Return the DICOM file of a picture: a Secondary Capture Image (PS3.3 section A.8).

    One page is a single-frame one, which everybody shows; several are a multi-frame one, of grey
    bytes, grey words or true colour.

    Args:
        attributes: DICOM JSON of who and what it is of.
        body: of a file of a picture.

    Raises:
        NoPicture: it cannot be read, or is more than is taken.
    """
    picture = decode(body)
    found = Dataset.from_json(dict(attributes))
    put(
        found,
        {**_EQUIPMENT, **_IMAGE, **(_COLOUR if picture.is_colour else _GRAY)},
        empty=("PatientOrientation",),
    )
    found.SOPClassUID = SECONDARY_CAPTURE if len(picture.frames) == 1 else _multi_frame(picture)
    _pixels(found, picture)
    return written(found)


def pdf(attributes: Mapping[str, Any], body: bytes) -> bytes:
    """Return the DICOM file of a PDF document (PS3.3 A.45.1).

    Raises:
        NoPicture: it cannot be read, or is more than is taken.
    """
    check(body)
    found = Dataset.from_json(dict(attributes))
    put(found, {**_EQUIPMENT, **_PDF}, empty=("AcquisitionDateTime",))
    found.SOPClassUID = ENCAPSULATED_PDF
    found.EncapsulatedDocument = body + b"\x00" * (len(body) % 2)
    found.EncapsulatedDocumentLength = len(body)
    return written(found)


def _multi_frame(picture: Picture) -> str:
    if picture.is_colour:
        return TRUE_COLOR
    return GRAYSCALE_WORD if picture.frames.dtype.itemsize > 1 else GRAYSCALE_BYTE


def _pixels(found: Dataset, picture: Picture) -> None:
    frames = picture.frames
    bits = 8 * frames.dtype.itemsize
    count, found.Rows, found.Columns = frames.shape[:3]
    found.BitsAllocated = found.BitsStored = bits
    found.HighBit, found.PixelRepresentation = bits - 1, 0
    if count > 1:
        found.NumberOfFrames, found.FrameIncrementPointer = count, _PAGES
        found.FrameLabelVector = [f"Page {number + 1}" for number in range(count)]
    is_wide = frames.dtype.itemsize > 1
    if is_wide:
        low, high = int(np.min(frames)), int(np.max(frames))
        found.WindowCenter = f"{(low + high + 1) / 2:g}"
        found.WindowWidth = str(max(1, high - low + 1))
    if picture.lossy:
        found.LossyImageCompression = "01"
        found.LossyImageCompressionRatio = f"{picture.lossy:g}"
        found.LossyImageCompressionMethod = "ISO_10918_1"
    else:
        found.LossyImageCompression = "00"
    data = frames.tobytes()
    found.add_new(0x7FE00010, "OW" if is_wide else "OB", data + b"\x00" * (len(data) % 2))
