"""Look-up tables of data sets (PS3.3 C.11.1.1, C.11.2.1.1, C.11.4.1)."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from darkroom_common.pixels.faults import Unrenderable
from darkroom_common.pixels.samples import OCTET

Values = npt.NDArray[np.float64]
_8_BITS: Final = 1 << OCTET
_16_BITS: Final = 1 << 16
_ENTRY_BITS: Final = range(8, 17)


@dataclass(frozen=True, slots=True, eq=False)
class LookupTable:
    """The entries for `first` and the whole numbers after it, of `bits` each."""

    first: int
    bits: int
    entries: Values

    def apply(self, values: Values) -> Values:
        """Return the entries of values; those beyond the table get its first or last."""
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        found: Values = self.entries[index.astype(np.intp)]
        return found


def read_table(item: Dataset, *, signed: bool) -> LookupTable:
    """Return the table of a sequence item.

    Args:
        item: with LUT Descriptor and LUT Data.
        signed: whether the values that go in may be below 0.

    Raises:
        Unrenderable: it is not whole.
    """
    try:
        count, first, bits = (int(value) for value in item.LUTDescriptor)
        data = item.LUTData
    except (AttributeError, TypeError, ValueError) as error:
        raise Unrenderable("a look-up table of it is not whole") from error
    count &= 0xFFFF
    count = count or _16_BITS
    first &= 0xFFFF
    if signed and first >= _16_BITS // 2:
        first -= _16_BITS
    entries = _entries(data, count)
    if len(entries) < count or bits not in _ENTRY_BITS:
        raise Unrenderable("a look-up table of it is not what its descriptor says")
    entries = entries[:count]
    if bits == OCTET and entries.max() >= _8_BITS:  # 16 bits, whatever it says
        bits = 16
    return LookupTable(first, bits, entries)


def _entries(data: object, count: int) -> Values:
    if isinstance(data, bytes):
        if len(data) <= count + 1:  # entries of 8 bits, perhaps padded
            return np.frombuffer(data, "u1").astype(np.float64)
        return np.frombuffer(data[: len(data) // 2 * 2], "<u2").astype(np.float64)
    try:
        return np.asarray(data, np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise Unrenderable("a look-up table of it is not whole") from error
