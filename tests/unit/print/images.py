"""Images made to measure, as files."""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

DX = "1.2.840.10008.5.1.4.1.1.1.1"


def an_image(pixels: np.ndarray[Any, Any], *, bits: int = 12, **header: Any) -> Dataset:
    """Return a data set of a greyscale or RGB array; keywords of the header overrule."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = DX
    ds.SOPInstanceUID = generate_uid()
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    ds.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        ds.PlanarConfiguration = 0
        bits = 8
    ds.BitsAllocated = 8 * pixels.dtype.itemsize
    ds.BitsStored = bits
    ds.HighBit = bits - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    ds.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    ds["PixelData"].VR = "OB" if ds.BitsAllocated == 8 else "OW"
    for keyword, value in header.items():
        setattr(ds, keyword, value)
    return ds


def a_file(path: Path, ds: Dataset) -> Path:
    """Write a data set as a DICOM file."""
    return written(path, as_file(ds))


def as_file(ds: Dataset) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return FileDataset("", ds, file_meta=meta, preamble=b"\0" * 128)


def written(path: Path, ds: FileDataset) -> Path:
    ds.save_as(path, enforce_file_format=True)
    return path


def a_ramp(rows: int = 64, columns: int = 64, levels: int = 4096) -> np.ndarray[Any, Any]:
    """Return a picture of all levels, from the top left to the bottom right."""
    return np.linspace(0, levels - 1, rows * columns).reshape(rows, columns).astype(np.uint16)
