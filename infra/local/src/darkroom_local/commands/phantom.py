"""Sample studies of invented patients: pictures made of ellipses in correct DICOM objects.

The CT is the head phantom of Shepp and Logan (1974) with the contrast of its modified form, cut
smaller towards the first and last slice. Every object has new UIDs under 2.25 (PS3.5 B.2).
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    UltrasoundMultiFrameImageStorage,
)

from darkroom_common.clock import utc_now

# Grey level, half axes, centre, angle in degrees; on a square from -1 to 1.
_RIBS: Final = 0.8  # of half the width
_ELLIPSES: Final = (
    (1.0, 0.69, 0.92, 0.0, 0.0, 0),
    (-0.8, 0.6624, 0.874, 0.0, -0.0184, 0),
    (-0.2, 0.11, 0.31, 0.22, 0.0, -18),
    (-0.2, 0.16, 0.41, -0.22, 0.0, 18),
    (0.1, 0.21, 0.25, 0.0, 0.35, 0),
    (0.1, 0.046, 0.046, 0.0, 0.1, 0),
    (0.1, 0.046, 0.046, 0.0, -0.1, 0),
    (0.1, 0.046, 0.023, -0.08, -0.605, 0),
    (0.1, 0.023, 0.023, 0.0, -0.606, 0),
    (0.1, 0.023, 0.046, 0.06, -0.605, 0),
)
_CT_SIZE: Final = 256
_CT_PIXEL_MM: Final = 0.9
_CT_SLICE_MM: Final = 5.0
_CR_SIZE: Final = 512
_US_SIZE: Final = 192
_US_FRAMES: Final = 16
_US_FRAME_MS: Final = 50


@dataclass(frozen=True)
class Patient:
    """Somebody who does not exist."""

    name: str
    number: str
    birth_date: str
    sex: str


PATIENTS: Final = (
    Patient("Phantom^Ada", "DEMO-0001", "19700101", "F"),
    Patient("Phantom^Bertram", "DEMO-0002", "19550630", "M"),
    Patient("Sample^Grayscale", "DEMO-0003", "19881224", "O"),
)


def studies(*, slices: int) -> Iterator[list[FileDataset]]:
    """Yield one study for each patient: a CT series of `slices`, a CR image, a US clip."""
    now = utc_now()
    ada, bertram, sample = PATIENTS
    yield list(_ct_series(_study(ada, now, "CT head, phantom", "1"), slices))
    yield [_cr_image(_study(bertram, now, "Chest, invented", "2"))]
    yield [_us_clip(_study(sample, now, "Heart, invented", "3"))]


def new_uid() -> UID:
    """Return a UID from a random UUID (PS3.5 B.2)."""
    return UID(f"2.25.{uuid.uuid4().int}")


def shepp_logan(size: int, scale: float = 1.0) -> NDArray[np.float64]:
    """Return `size` by `size` values, 0 to 1 in the head and -1 around; `scale` shrinks it."""
    axis = np.linspace(-1, 1, size) / scale
    x, y = np.meshgrid(axis, -axis)
    image = np.zeros((size, size))
    head = image > 0
    for level, half_x, half_y, centre_x, centre_y, degrees in _ELLIPSES:
        angle = np.deg2rad(degrees)
        along = (x - centre_x) * np.cos(angle) + (y - centre_y) * np.sin(angle)
        across = (y - centre_y) * np.cos(angle) - (x - centre_x) * np.sin(angle)
        image[(along / half_x) ** 2 + (across / half_y) ** 2 <= 1] += level
        head = image > 0 if level == 1.0 else head
    return np.where(head, image.clip(0, 1), -1)


def _study(patient: Patient, now: datetime, description: str, number: str) -> Dataset:
    """Return what all objects of a study have in common (PS3.3 C.7.1.1, C.7.2.1)."""
    common = Dataset()
    common.PatientName = patient.name
    common.PatientID = patient.number
    common.PatientBirthDate = patient.birth_date
    common.PatientSex = patient.sex
    common.StudyInstanceUID = new_uid()
    common.StudyID = number
    common.StudyDate = now.strftime("%Y%m%d")
    common.StudyTime = now.strftime("%H%M%S")
    common.StudyDescription = description
    common.AccessionNumber = f"DEMO{now:%H%M%S}{number}"
    common.ReferringPhysicianName = "Nobody^Doctor"
    common.Manufacturer = "Darkroom"
    common.ManufacturerModelName = "Phantom"
    common.InstitutionName = "Darkroom demonstration"
    common.SoftwareVersions = "1"
    common.DeviceSerialNumber = "0"
    common.SeriesDate = common.ContentDate = common.AcquisitionDate = common.StudyDate
    common.SeriesTime = common.ContentTime = common.AcquisitionTime = common.StudyTime
    common.SeriesInstanceUID = new_uid()
    common.SeriesNumber = 1
    common.AcquisitionNumber = 1
    common.BurnedInAnnotation = "NO"
    return common


def _ct_series(common: Dataset, slices: int) -> Iterator[FileDataset]:
    """Yield the slices from feet to head (PS3.3 A.3)."""
    frame_of_reference = new_uid()
    middle = (slices - 1) / 2
    corner = -_CT_SIZE / 2 * _CT_PIXEL_MM
    noise = np.random.default_rng(1)
    for number in range(slices):
        height = (number - middle) / (middle + 1)
        image = shepp_logan(_CT_SIZE, scale=float(np.sqrt(1 - 0.7 * height**2)))
        # Hounsfield units of air, ventricles, brain, what stands out in it, and the skull.
        units = np.interp(image, [-1, -0.01, 0, 0.2, 0.4, 1], [-1000, -1000, 5, 35, 80, 1000])
        units += noise.normal(0, 8, units.shape)
        stored = (units + 1024).clip(0, 4095).astype(np.uint16)
        ct = _object(common, CTImageStorage, "CT", stored, bits=12)
        ct.InstanceNumber = number + 1
        ct.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ct.SeriesDescription = "Shepp-Logan"
        ct.BodyPartExamined = "HEAD"
        ct.FrameOfReferenceUID = frame_of_reference
        ct.PositionReferenceIndicator = ""
        ct.PatientPosition = "HFS"
        position = (number - middle) * _CT_SLICE_MM
        ct.ImagePositionPatient = [corner, corner, position]
        ct.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ct.SliceLocation = position
        ct.SliceThickness = _CT_SLICE_MM
        ct.PixelSpacing = [_CT_PIXEL_MM, _CT_PIXEL_MM]
        ct.RescaleIntercept = -1024
        ct.RescaleSlope = 1
        ct.RescaleType = "HU"
        ct.KVP = 120
        ct.WindowCenter = 40
        ct.WindowWidth = 400
        yield ct


def _cr_image(common: Dataset) -> FileDataset:
    """Return something like a chest (PS3.3 A.2): two dark lungs, a spine, ribs."""
    axis = np.linspace(-1, 1, _CR_SIZE)
    x, y = np.meshgrid(axis, axis)
    image = 0.75 * np.exp(-((x / 0.95) ** 8))
    for side in (-1, 1):
        image -= 0.45 * np.exp(-((((x - side * 0.42) / 0.3) ** 2 + (y / 0.65) ** 2) ** 3))
    image += 0.25 * np.exp(-((x / 0.09) ** 2))
    image += 0.06 * np.cos(18 * (y + 0.35 * x**2)) ** 6 * (np.abs(x) < _RIBS)
    stored = (image.clip(0, 1) * 4095).astype(np.uint16)
    cr = _object(common, ComputedRadiographyImageStorage, "CR", stored, bits=12)
    cr.ImageType = ["ORIGINAL", "PRIMARY"]
    cr.SeriesDescription = "PA"
    cr.BodyPartExamined = "CHEST"
    cr.ViewPosition = "PA"
    cr.PatientOrientation = ["L", "F"]
    cr.ImagerPixelSpacing = [0.8, 0.8]
    cr.WindowCenter = 2048
    cr.WindowWidth = 4096
    return cr


def _us_clip(common: Dataset) -> FileDataset:
    """Return a beating ring in a sector with speckle (PS3.3 A.7)."""
    axis = np.linspace(-1, 1, _US_SIZE)
    x, y = np.meshgrid(axis, (axis + 1) / 2)
    sector = (np.hypot(x, y) < 1) & (np.abs(np.arctan2(x, y + 1e-9)) < np.deg2rad(38))
    speckle = np.random.default_rng(2).rayleigh(0.3, (_US_SIZE, _US_SIZE))
    frames = []
    for number in range(_US_FRAMES):
        radius = 0.2 + 0.05 * np.sin(2 * np.pi * number / _US_FRAMES)
        wall = np.exp(-(((np.hypot(x, y - 0.55) - radius) / 0.04) ** 2))
        frames.append((sector * speckle * (0.25 + wall) * 255).clip(0, 255).astype(np.uint8))
    us = _object(common, UltrasoundMultiFrameImageStorage, "US", np.stack(frames), bits=8)
    us.ImageType = ["ORIGINAL", "PRIMARY"]
    us.SeriesDescription = "One beat"
    us.BodyPartExamined = "HEART"
    us.PatientOrientation = ""
    us.NumberOfFrames = _US_FRAMES
    us.FrameIncrementPointer = 0x00181063  # Frame Time
    us.FrameTime = _US_FRAME_MS
    us.CineRate = 1000 // _US_FRAME_MS
    us.UltrasoundColorDataPresent = 0
    us.LossyImageCompression = "00"
    return us


def _object(
    common: Dataset, sop_class: UID, modality: str, stored: NDArray[Any], *, bits: int
) -> FileDataset:
    """Return a Part 10 object with pixels (PS3.3 C.7.6.3), last two axes rows and columns."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = new_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=False)
    made.update(common)
    made.SOPClassUID = sop_class
    made.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    made.Modality = modality
    made.InstanceNumber = 1
    made.SamplesPerPixel = 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.Rows, made.Columns = stored.shape[-2:]
    made.BitsAllocated = stored.dtype.itemsize * 8
    made.BitsStored = bits
    made.HighBit = bits - 1
    made.PixelRepresentation = 0
    made.PixelData = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    return made
