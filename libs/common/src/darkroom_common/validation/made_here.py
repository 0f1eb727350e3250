"""Objects that are made here: by what they are known, and of which kinds they are.

Each says it by Instance Creator UID (0008,0014), which stays with it whatever becomes of its bytes.
"""

import re
from typing import Final

from darkroom_common.dicom.part10 import IMPLEMENTATION_CLASS_UID

CREATOR: Final = IMPLEMENTATION_CLASS_UID
_STORAGE: Final = "1.2.840.10008.5.1.4.1.1"
CLASSES: Final = frozenset(
    f"{_STORAGE}.{end}"
    for end in (
        *("1", "1.1", "1.1.1", "7", "7.2", "7.3", "7.4"),
        *("11.1", "88.11", "88.59", "88.67", "104.1", "104.2", "104.3"),
    )
)
"""SOP classes of what is made here."""
LOOKED_AT: Final = 1024
"""Bytes of a data set: Instance Creator UID is one of its first elements."""
_OURS: Final = re.compile(
    rb"\x08\x00\x14\x00(?:UI)?.{2,4}" + re.escape(CREATOR.encode()), re.DOTALL
)


def is_made_here(begin: bytes) -> bool:
    """Tell whether a data set says that it was made here.

    Args:
        begin: its first `LOOKED_AT` bytes, in little endian, not deflated.
    """
    return _OURS.search(begin) is not None
