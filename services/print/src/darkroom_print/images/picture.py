"""What goes into one image box: which frame, and how it is shown."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from darkroom_common.dicom.charset import NOTHING_ASSUMED, Assumed
from darkroom_common.errors import PermanentError


class InvalidWindow(PermanentError):
    """A window is not one of PS3.3 C.11.2.1.2."""


class VoiFunction(StrEnum):
    """VOI LUT Function (0028,1056)."""

    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"


@dataclass(frozen=True, slots=True)
class Window:
    """Window Center and Width, in the units that the modality LUT gives."""

    center: float
    width: float
    function: VoiFunction = VoiFunction.LINEAR

    def __post_init__(self) -> None:
        least = 1.0 if self.function is VoiFunction.LINEAR else 0.0
        if not (self.width >= least and self.width > 0):
            raise InvalidWindow(f"a {self.function} window is at least {least:g} wide, and above 0")


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame for one box.

    Attributes:
        path: a DICOM file.
        frame: from 1.
        window: instead of what the header says.
        assumed: of the text of its sender.
        position: of the box; None: the next free one.
    """

    path: Path
    frame: int = 1
    window: Window | None = None
    assumed: Assumed = NOTHING_ASSUMED
    position: int | None = None
