"""Whose fault it is when associations end within objects: an object's, or the destination's.

What was under way is put aside and the rest is sent; then each of those is sent by itself. It is at
fault when that goes wrong again and again while the destination takes others. A destination that
takes nothing at all is at fault itself, whatever it is sent.
"""

from dataclasses import dataclass, field
from typing import Final

MOST_IN_A_ROW: Final = 3
"""Objects that may go wrong one after the other before the destination is the likelier cause."""
FAULTS: Final = 3
"""How often an object goes wrong, all but the first time by itself, until it has failed."""


@dataclass
class Suspicion:
    """What was under way at the faults since a destination took something."""

    _in_a_row: set[str] = field(default_factory=set)

    def arrived(self) -> None:
        """Say that the destination has taken an object."""
        self._in_a_row.clear()

    def blames_destination(self, sop_instance_uid: str, *, alone: bool, proven: bool) -> bool:
        """Say that an association has ended within an object; return whose fault that is.

        Args:
            sop_instance_uid: what was under way.
            alone: whether it was sent by itself, after an earlier fault.
            proven: whether the destination has taken others of the same job.
        """
        self._in_a_row.add(sop_instance_uid)
        if not alone:
            return len(self._in_a_row) >= MOST_IN_A_ROW
        return not proven and len(self._in_a_row) > 1
