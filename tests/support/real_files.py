"""Every DICOM file of pydicom-data, of pydicom and of its character sets."""

from pathlib import Path

import data_store
import pydicom

_ROOTS = (
    Path(data_store.__file__).parent / "data",
    Path(pydicom.__file__).parent / "data" / "test_files",
    Path(pydicom.__file__).parent / "data" / "charset_files",
)
REAL_FILES = tuple(path for root in _ROOTS for path in sorted(root.rglob("*")) if path.is_file())
assert len(REAL_FILES) > 200
