"""New UIDs: under the root of an organisation, or else of UUIDs (PS3.5 section 9, annex B.2)."""

import itertools
import secrets
import uuid
from typing import Final

from darkroom_common.clock import Clock

LONGEST_ROOT: Final = 28
"""Characters of a root: what follows it takes 36 of the 64, up to 100,000,000 UIDs of a process."""
OF_OTHERS: Final = ("1.2.840.10008", "1.2.826.0.1.3680043.8.498")
"""Roots of the standard itself and of pydicom, for trying out: nobody's UIDs begin so."""
_SERIALS: Final = 10**12
_SEQUENCES: Final = 10**8


class Uids:
    """Makes UIDs, no two alike: neither of several processes, nor when a clock is set back.

    Args:
        root: of the organisation, at most `LONGEST_ROOT` characters; empty: it has none.
        clock: of this host.
    """

    def __init__(self, root: str, clock: Clock) -> None:
        self._root = root
        self._clock = clock
        self._begin()

    def new(self) -> str:
        """Return `{root}.{serial of this process}.{milliseconds}.{sequence}`, or `2.25.{UUID}`."""
        if not self._root:
            return f"2.25.{uuid.uuid4().int}"
        milliseconds = int(self._clock.now().timestamp() * 1000)
        sequence = next(self._sequence)
        if sequence >= _SEQUENCES:  # it would grow too long
            self._begin()
            sequence = next(self._sequence)
        return f"{self._root}.{self._serial}.{milliseconds}.{sequence}"

    def _begin(self) -> None:
        """Choose another number for this process, and count from the beginning."""
        self._serial = secrets.randbelow(_SERIALS)
        self._sequence = itertools.count(1)


def root_of_one_s_own(root: str) -> str:
    """Return a root.

    Raises:
        ValueError: it is not that of an organisation.
    """
    if any(f"{root}.".startswith(f"{other}.") for other in OF_OTHERS):
        raise ValueError("this root is of the standard, or of a library: it is for trying out")
    return root
