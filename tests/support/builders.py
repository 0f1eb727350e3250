"""Messages and data sets as tests want them: valid, distinct, and obviously made up."""

import hashlib
import io
import uuid
from datetime import UTC, datetime
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from darkroom_common.messages.events import InstancesStored, StoredItem

CT = "1.2.840.10008.5.1.4.1.1.2"


def new_uid() -> str:
    return f"2.25.{uuid.uuid4().int}"


def a_stored_item(**changes: Any) -> StoredItem:
    receipt = uuid.uuid4().hex
    given: dict[str, Any] = {
        "receipt": receipt,
        "study_instance_uid": new_uid(),
        "series_instance_uid": new_uid(),
        "sop_instance_uid": new_uid(),
        "sop_class_uid": CT,
        "transfer_syntax_uid": str(ExplicitVRLittleEndian),
        "object_key": f"test/{receipt}.dcm",
        "sha256": hashlib.sha256(receipt.encode()).hexdigest(),
        "size": 1000,
        "data_set_offset": 300,
        "calling_ae_title": "SCANNER",
        "called_ae_title": "DARKROOM",
        "received_at": datetime.now(UTC),
    }
    return StoredItem(**(given | changes))


def instances_stored(*items: StoredItem) -> InstancesStored:
    """Return the event of these objects, or of one."""
    return InstancesStored(items=items or (a_stored_item(),))


def a_data_set(**changes: Any) -> Dataset:
    data_set = Dataset()
    data_set.SOPClassUID = CT
    data_set.SOPInstanceUID = new_uid()
    data_set.StudyDate = "20240131"
    data_set.StudyTime = "101500"
    data_set.AccessionNumber = "A1"
    data_set.Modality = "CT"
    data_set.PatientName = "Planted^Name"
    data_set.PatientID = "PLANTED-1"
    data_set.StudyInstanceUID = new_uid()
    data_set.SeriesInstanceUID = new_uid()
    data_set.SeriesNumber = 3
    data_set.InstanceNumber = 7
    data_set.Rows = 2
    data_set.Columns = 2
    data_set.BitsAllocated = 8
    data_set.BitsStored = 8
    data_set.HighBit = 7
    data_set.PixelRepresentation = 0
    data_set.SamplesPerPixel = 1
    data_set.PhotometricInterpretation = "MONOCHROME2"
    data_set.PixelData = b"\x00\x01\x02\x03"
    data_set["PixelData"].VR = "OW"
    for keyword, value in changes.items():
        setattr(data_set, keyword, value)
    return data_set


def encode(data_set: Dataset, transfer_syntax: str = str(ExplicitVRLittleEndian)) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian = transfer_syntax != "1.2.840.10008.1.2.2"
    buffer.is_implicit_VR = transfer_syntax == str(ImplicitVRLittleEndian)
    write_dataset(buffer, data_set)
    parent = buffer.parent
    assert isinstance(parent, io.BytesIO)
    return parent.getvalue()
