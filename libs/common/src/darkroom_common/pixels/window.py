"""Windows (PS3.3 C.11.2.1.2, C.11.2.1.3)."""

from dataclasses import dataclass
from enum import StrEnum

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
