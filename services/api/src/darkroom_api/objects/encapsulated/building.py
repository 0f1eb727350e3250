"""Data sets of clinical documents and models: plain functions, from values to a data set."""

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from darkroom_api.objects.encapsulated.clinical import look
from darkroom_api.objects.encapsulated.spec import ModelGiven
from darkroom_api.objects.pictures import NoPicture
from darkroom_api.objects.writing import coded, put, written

ENCAPSULATED_CDA: Final = "1.2.840.10008.5.1.4.1.1.104.2"
ENCAPSULATED_STL: Final = "1.2.840.10008.5.1.4.1.1.104.3"
_SOFTWARE: Final = {"ManufacturerModelName": "Darkroom", "SoftwareVersions": "Darkroom"}
_UNITS: Final = {
    "um": Code("um", "UCUM", "micrometer"),
    "mm": Code("mm", "UCUM", "mm"),
    "cm": Code("cm", "UCUM", "cm"),
    "m": Code("m", "UCUM", "m"),
}
"""CID 7063."""
_USAGES: Final = {
    "diagnostic": Code("261004008", "SCT", "Diagnostic Intent"),
    "educational": codes.DCM.EducationalIntent,
    "implant": codes.DCM.ImplantFabrication,
    "planning": codes.DCM.PlanningIntent,
    "prosthetic": codes.DCM.ProstheticFabrication,
    "quality-control": codes.DCM.QualityControlIntent,
    "simulation": codes.DCM.SimulationIntent,
    "tool": codes.DCM.ToolFabrication,
}
"""CID 7064."""
_HEAD: Final = 84
_TRIANGLE: Final = np.dtype([("numbers", "<f4", (12,)), ("attributes", "<u2")])
_EMPTY: Final = ("AcquisitionDateTime", "DocumentTitle")


def clinical_document(attributes: Mapping[str, Any], body: bytes) -> bytes:
    """Return the DICOM file of a clinical document (PS3.3 section A.45.2).

    Raises:
        NoPicture: it is none.
    """
    known = look(body)
    found = Dataset.from_json(dict(attributes))
    found.SOPClassUID = ENCAPSULATED_CDA
    put(
        found,
        {
            "Manufacturer": "Darkroom",
            "SecondaryCaptureDeviceManufacturer": "Darkroom",
            "DocumentTitle": str(found.get("DocumentTitle") or "") or known.title or None,
            "HL7InstanceIdentifier": known.instance,
            "MIMETypeOfEncapsulatedDocument": "text/XML",
            "AcquisitionDateTime": None,
            "ConceptNameCodeSequence": [],
        },
        empty=_EMPTY,
    )
    return _with(found, body)


def model(
    attributes: Mapping[str, Any], values: Mapping[str, Any], body: bytes, uids: Sequence[str]
) -> bytes:
    """Return the DICOM file of a model for manufacturing, of binary STL (PS3.3 section A.85.1).

    Raises:
        NoPicture: it is none.
    """
    _check(body)
    given = ModelGiven.model_validate(values)
    found = Dataset.from_json(dict(attributes))
    found.SOPClassUID = ENCAPSULATED_STL
    serial = str(found.SeriesInstanceUID)
    put(
        found,
        {
            **_SOFTWARE,
            "Manufacturer": given.manufacturer,
            "DeviceSerialNumber": serial[-16:],
            "FrameOfReferenceUID": given.frame_of_reference_uid or uids[0],
            "PositionReferenceIndicator": None,
            "MIMETypeOfEncapsulatedDocument": "model/stl",
            "AcquisitionDateTime": None,
            "ConceptNameCodeSequence": [],
            "MeasurementUnitsCodeSequence": [coded(_UNITS[given.units])],
            "ModelModification": "YES" if given.modified else "NO",
            "ModelMirroring": "YES" if given.mirrored else "NO",
            "ModelUsageCodeSequence": [coded(_USAGES[given.usage])],
            "ContentDescription": given.description or None,
        },
        empty=(*_EMPTY, "PositionReferenceIndicator"),
    )
    return _with(found, body)


def _check(body: bytes) -> None:
    """Look that it is a whole model in binary STL.

    Raises:
        NoPicture: it is not.
    """
    if len(body) < _HEAD:
        raise NoPicture("It is no model (STL).")
    (count,) = struct.unpack_from("<L", body, _HEAD - 4)
    if len(body) != _HEAD + count * _TRIANGLE.itemsize:
        if body[:5].lower() == b"solid":
            raise NoPicture("The model is STL as text; DICOM takes binary STL alone.")
        raise NoPicture("The model (STL) is damaged.")
    if not count:
        raise NoPicture("The model has no triangle.")
    numbers = np.frombuffer(body, _TRIANGLE, count, _HEAD)["numbers"]
    if not math.isfinite(float(np.abs(numbers).max())):
        raise NoPicture("The model has a coordinate that is no number.")


def _with(found: Dataset, body: bytes) -> bytes:
    found.EncapsulatedDocument = body + b"\x00" * (len(body) % 2)
    found.EncapsulatedDocumentLength = len(body)
    return written(found)
