"""Connections that were given back a moment ago, for whoever wants one next.

asyncpg's pool makes a task and a timer to lend a connection and another task to take it back, which
together cost as much as a small statement does. A connection that is as good as new goes from one
to the next without that; what is left of the pool's work (to open, to mend, to close what is idle
or old) is still the pool's, which takes these connections to be in use.
"""

from collections import deque
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final

import asyncpg

from darkroom_common.clock import monotonic

IDLE_SECONDS: Final = 60.0
"""After which what nobody has wanted goes back to the pool, which closes it some time later."""
USES: Final = 1000
"""After which a connection goes to the pool once, which closes those that have worked for long."""
_is_cancelling: Final = attrgetter("_protocol._is_cancelling")
"""asyncpg tells its own pool alone whether the server is still to end what was given up."""


class Lent(asyncpg.Connection):
    """A connection whose session is put back as it was only when that may have changed.

    That is a statement of its own, which takes as long as most of ours do.
    """

    changing = False
    uses = 0

    def change(self) -> None:
        """Say that this time something of the session may be changed."""
        self.changing = True

    def get_reset_query(self) -> str:
        """Return what undoes changes of the session."""
        changing, self.changing, self.uses = self.changing, False, 0
        return str(super().get_reset_query()) if changing else ""

    def is_as_new(self) -> bool:
        """Tell whether it can be lent again as it is; counts how often it is asked."""
        self.uses += 1
        return not (
            self.changing or self.uses > USES or self.is_in_transaction() or _is_cancelling(self)()
        )


def is_lost(connection: Any) -> bool:
    """Tell whether a connection was closed; its pool may know that, or is to be told."""
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:  # it is not lent any more
        return True


@dataclass
class AtHand:
    """The connections of one pool that nobody uses, and how many wait for one of the pool."""

    waiting: int = 0
    _kept: deque[tuple[Any, float]] = field(default_factory=deque)

    def __len__(self) -> int:
        """Return how many there are, without those that were lost meanwhile."""
        return sum(not is_lost(one) for one, _ in self._kept)

    def take(self) -> Any:
        """Return the one that was given back last, lost meanwhile or not; None: there is none."""
        return self._kept.pop()[0] if self._kept else None

    def keep(self, connection: Any) -> bool:
        """Keep a connection, unless it is not as new, or somebody waits for one of the pool."""
        if self.waiting or is_lost(connection) or not connection.is_as_new():
            return False
        self._kept.append((connection, monotonic()))
        return True

    def idle(self) -> Any:
        """Return one that nobody has wanted for long; None: there is none."""
        if self._kept and self._kept[0][1] < monotonic() - IDLE_SECONDS:
            return self._kept.popleft()[0]
        return None
