"""The Presentation LUT of a film (PS3.3 C.11.4)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from darkroom_common.errors import PermanentError

_ENTRIES: Final = range(2, (1 << 16) + 1)
_ENTRY_BITS: Final = range(8, 17)


class InvalidPresentationLut(PermanentError):
    """A Presentation LUT is not one of C.11.4."""


class LutShape(StrEnum):
    """Presentation LUT Shape (2050,0020), and TABLE for a Presentation LUT Sequence."""

    IDENTITY = "IDENTITY"
    LIN_OD = "LIN OD"
    TABLE = "TABLE"


@dataclass(frozen=True, slots=True)
class PresentationLut:
    """From the pixel values after polarity to P-Values.

    Attributes:
        table: LUT Data (0028,3006): entries for the least to the greatest pixel value, spread
            evenly over them.
        bits: of one entry, 10 to 16.
    """

    shape: LutShape = LutShape.IDENTITY
    table: tuple[int, ...] = ()
    bits: int = 16

    def __post_init__(self) -> None:
        if (self.shape is LutShape.TABLE) != bool(self.table):
            raise InvalidPresentationLut("a table goes with the shape TABLE, and only with it")
        if not self.table:
            return
        if len(self.table) not in _ENTRIES or self.bits not in _ENTRY_BITS:
            raise InvalidPresentationLut("a table has 2 to 65536 entries of 8 to 16 bits")
        if min(self.table) < 0 or max(self.table) >= 1 << self.bits:
            raise InvalidPresentationLut(f"an entry of the table is not of {self.bits} bits")


IDENTITY: Final = PresentationLut()
