"""How long to wait for what nobody tells us of: longer and longer while there is nothing to do.

Work that comes by this process wakes its worker at once. Looking by itself is for what another
process has left or written: a claim that has expired, a row of a command. PostgreSQL could tell of
that by NOTIFY, for which commits wait in one line (its lock is the database's); looking costs less.
"""

from typing import Final

FIRST_SECONDS: Final = 1.0
LAST_SECONDS: Final = 4.0


class Lull:
    """The pauses between two looks of one worker."""

    def __init__(self) -> None:
        self._next = FIRST_SECONDS

    def pause(self) -> float:
        """Return the seconds until the next look after one that has found nothing."""
        pause, self._next = self._next, min(2 * self._next, LAST_SECONDS)
        return pause

    def over(self) -> None:
        """Say that there was something to do: the next pauses are short again."""
        self._next = FIRST_SECONDS
