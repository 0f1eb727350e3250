"""What conversion hands out; nothing here reads objects."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

IMPLICIT: Final = "1.2.840.10008.1.2"
EXPLICIT: Final = "1.2.840.10008.1.2.1"
NATIVE_TARGETS: Final = (EXPLICIT, IMPLICIT)


@dataclass(frozen=True)
class Converted:
    """A file that was made to be sent.

    Attributes:
        path: a DICOM file with preamble and file meta.
        offset: of the data set in it.
        size: of the file.
        left_out: tags of elements that cannot be said in it, as 8 hexadecimal digits.
    """

    path: Path
    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    offset: int
    size: int
    left_out: tuple[str, ...] = ()
