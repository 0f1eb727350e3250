"""Data sets of projection radiographs: plain functions, from values to a data set."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from darkroom_api.objects.pictures import NoPicture, Picture, decode
from darkroom_api.objects.projection.spec import BODY_PARTS, CrGiven, DxGiven, RadiographGiven
from darkroom_api.objects.writing import coded, decimal, put, written

CR: Final = "1.2.840.10008.5.1.4.1.1.1"
DX: Final = {
    "presentation": "1.2.840.10008.5.1.4.1.1.1.1",
    "processing": "1.2.840.10008.5.1.4.1.1.1.1.1",
}
_SHAPES: Final = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}
_VIEWS: Final = {
    "AP": "AnteroPosterior",
    "PA": "PosteroAnterior",
    "LL": "LeftLateral",
    "RL": "RightLateral",
    "LLD": "LeftLateral",
    "RLD": "RightLateral",
    "LLO": "LeftOblique",
    "RLO": "RightOblique",
}
"""Terms of View Position, and the names of their codes in CID 4010."""
_BYTE: Final = 8


def cr(attributes: Mapping[str, Any], values: Mapping[str, Any], body: bytes) -> bytes:
    """Return the DICOM file of a Computed Radiography Image (PS3.3 section A.2).

    Raises:
        NoPicture: the pixels cannot be read, or are none of a radiograph.
    """
    given = CrGiven.model_validate(values)
    found = Dataset.from_json(dict(attributes))
    found.SOPClassUID = CR
    _image(found, given, body)
    found.BodyPartExamined, found.ViewPosition = given.body_part, given.view_position
    found.ImageLaterality = given.laterality  # and so no Laterality of the series
    return written(found, given.compression)


def dx(attributes: Mapping[str, Any], values: Mapping[str, Any], body: bytes) -> bytes:
    """Return the DICOM file of a Digital X-Ray Image (PS3.3 section A.26).

    Raises:
        NoPicture: the pixels cannot be read, or are none of a radiograph.
    """
    given = DxGiven.model_validate(values)
    found = Dataset.from_json(dict(attributes))
    found.SOPClassUID = DX[given.intent]
    _image(found, given, body)
    put(
        found,
        {  # DX Anatomy Imaged, DX Image, DX Detector, Acquisition Context
            "ImageLaterality": given.laterality,
            "AnatomicRegionSequence": [coded(getattr(codes.cid4031, BODY_PARTS[given.body_part]))],
            "BodyPartExamined": given.body_part,
            "ViewPosition": given.view_position or None,
            "ViewCodeSequence": _view(given.view_position),
            "PositionerType": None,
            "PixelIntensityRelationship": given.pixel_intensity_relationship,
            "PixelIntensityRelationshipSign": 1 if given.more_is_more_exposure else -1,
            "RescaleIntercept": "0",
            "RescaleSlope": "1",
            "RescaleType": "US",
            "PresentationLUTShape": _SHAPES[given.photometric_interpretation],
            "DetectorType": given.detector_type,
            "AcquisitionContextSequence": [],
        },
        empty=("DetectorType", "PositionerType"),
    )
    return written(found, given.compression)


def _view(position: str) -> list[Dataset] | None:
    name = _VIEWS.get(position)
    return None if name is None else [coded(getattr(codes.cid4010, name))]


def _image(found: Dataset, given: RadiographGiven, body: bytes) -> None:
    """Put pixels, and what CR and DX say of how they came about (section C.8.7.2 and others)."""
    picture = decode(body)
    if picture.is_colour or len(picture.frames) > 1:
        raise NoPicture("A radiograph is one page of grey values.")
    pixels = picture.frames[0]
    bits = given.bits_stored or _BYTE * pixels.dtype.itemsize
    if int(pixels.max()) >> bits:
        raise NoPicture(f"Its pixels have more than {bits} bits.")
    if bits > _BYTE:
        pixels = pixels.astype("<u2")
    spacing = given.imager_pixel_spacing
    put(
        found,
        {
            "Manufacturer": "Darkroom",
            "ImageType": _image_type(given),
            "PatientOrientation": list(given.patient_orientation or ()) or None,
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": given.photometric_interpretation,
            "Rows": pixels.shape[0],
            "Columns": pixels.shape[1],
            "BitsAllocated": _BYTE if bits == _BYTE else 2 * _BYTE,
            "BitsStored": bits,
            "HighBit": bits - 1,
            "PixelRepresentation": 0,
            "ImagerPixelSpacing": [decimal(one) for one in spacing] if spacing else None,
            "ProtocolName": given.protocol_name or None,
            "KVP": decimal(given.kvp),
            "XRayTubeCurrent": _whole(given.tube_current),
            "ExposureTime": _whole(given.exposure_time),
            "Exposure": _whole(given.exposure),
            "ImageAndFluoroscopyAreaDoseProduct": decimal(given.dose_area_product),
            "DistanceSourceToDetector": decimal(given.distance_source_to_detector),
            "ExposureIndex": decimal(given.exposure_index),
            "TargetExposureIndex": decimal(given.target_exposure_index),
            "DeviationIndex": decimal(given.deviation_index),
        },
        empty=("PatientOrientation",),
    )
    if not isinstance(given, DxGiven) or given.intent == "presentation":
        _window(found, given, pixels)
    _lossy(found, picture)
    data = pixels.tobytes()
    vr = "OB" if bits == _BYTE else "OW"
    found.add_new(0x7FE00010, vr, data + b"\x00" * (len(data) % 2))


def _image_type(given: RadiographGiven) -> list[str]:
    """Return what a DX image has to say with its third value (section C.8.11.3.1.2)."""
    return ["ORIGINAL", "PRIMARY", ""] if isinstance(given, DxGiven) else ["ORIGINAL", "PRIMARY"]


def _window(found: Dataset, given: RadiographGiven, pixels: np.ndarray[Any, Any]) -> None:
    center, width = given.window_center, given.window_width
    if center is None or width is None:
        low, high = int(pixels.min()), int(pixels.max())
        center, width = (low + high + 1) / 2, max(1, high - low + 1)
    found.WindowCenter, found.WindowWidth = decimal(center), decimal(width)


def _lossy(found: Dataset, picture: Picture) -> None:
    found.LossyImageCompression = "01" if picture.lossy else "00"
    if picture.lossy:
        found.LossyImageCompressionRatio = decimal(picture.lossy)
        found.LossyImageCompressionMethod = "ISO_10918_1"


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
