"""Real objects that can be read as a whole, and conversion of one in this process."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from darkroom_common.dicom.part10 import FileMeta, encode_head
from darkroom_common.transcoding.converted import EXPLICIT, Converted
from darkroom_common.transcoding.transcode import convert
from tests.support.builders import encode
from tests.support.real_files import REAL_FILES

BROKEN = {"MR_truncated.dcm", "rtplan_truncated.dcm", "emri_small_jpeg_2k_lossless_too_short.dcm"}
"""Cut within a value: receiving would not have kept them."""


def whole(path: Path) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = dcmread(path, stop_before_pixels=True)
            return bool(found.SOPInstanceUID and found.SOPClassUID and found.file_meta[0x00020010])
        except (AttributeError, KeyError, InvalidDicomError, OSError, ValueError):
            return False


WHOLE = [path for path in REAL_FILES if path.name not in BROKEN and whole(path)]


def a_file(dataset: Dataset, directory: Path) -> Path:
    path = directory / "source.dcm"
    meta = FileMeta(dataset.SOPClassUID, dataset.SOPInstanceUID, EXPLICIT)
    path.write_bytes(encode_head(meta) + encode(dataset))
    return path


def convert_file(
    source: Path,
    target: Path,
    wanted: Sequence[str],
    *,
    edit: Callable[[Dataset], None] | None = None,
) -> Converted:
    """Convert in this process; warnings of pydicom on odd values are none of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return convert(source, target, wanted, edit=edit)
