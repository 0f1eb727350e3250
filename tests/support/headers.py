"""The header of a DICOM file as the index has it, without its being stored first."""

import io

from darkroom_common.dicom.json_values import JsonDataset
from darkroom_common.dicom.stored import stored_file
from darkroom_metadata.indexing.extract import read_header


def header_in(content: bytes) -> JsonDataset:
    """Return the header of a file, read the slow way.

    Raises:
        Unreadable: it has no head as ours.
        Exception: pydicom cannot read it.
    """
    with stored_file(io.BytesIO(content)) as (stored, _):
        return read_header(stored)[0]
