"""What conversion hands out; nothing here reads objects."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

IMPLICIT: Final = "1.2.840.10008.1.2"
EXPLICIT: Final = "1.2.840.10008.1.2.1"
NATIVE_TARGETS: Final = (EXPLICIT, IMPLICIT)


@dataclass(frozen=True, kw_only=True)
class Written:
    """A DICOM file with preamble and file meta.

    Attributes:
        offset: of the data set in it.
        size: of the file.
        left_out: tags of elements that cannot be said in it, as 8 hexadecimal digits.
    """

    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    offset: int
    size: int
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Converted(Written):
    """One that was made to be sent.

    Attributes:
        path: of the file.
    """

    path: Path
