"""How fast studies are marked and purged at most: one after the other over all processes."""

import datetime as dt
from dataclasses import dataclass
from typing import Final

from darkroom_common.errors import TransientError
from darkroom_common.postgres.pool import Connection, the_row

# A clock that was set back leaves a moment far ahead: that one is not waited for.
_TAKE: Final = (
    "UPDATE index.pace SET next_at = now() + $2::interval WHERE name ="
    " (SELECT name FROM index.pace WHERE name = $1 FOR UPDATE SKIP LOCKED)"
    " AND (next_at <= now() OR next_at > now() + 2 * $2::interval) RETURNING true"
)
_WAIT: Final = (
    "SELECT extract(epoch FROM next_at - clock_timestamp())::float8 AS seconds FROM index.pace"
    " WHERE name = $1"
)
_ELSEWHERE: Final = 1.0
"""Seconds until it is looked again while another process is at work at its turn."""


class NotYet(TransientError):
    """The next one has to wait for so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"not before {seconds:.2f} s have passed")
        self.seconds = seconds


@dataclass(frozen=True)
class Turns:
    """Turns at something of which so many are taken in a minute at most; 0: any number.

    Attributes:
        name: of the row in `index.pace`.
    """

    name: str
    per_minute: float

    async def take(self, db: Connection) -> None:
        """Take the next turn, in the transaction that uses it: none is lost with one that fails.

        Raises:
            NotYet: it has not come.
        """
        if not self.per_minute:
            return
        between = dt.timedelta(minutes=1) / self.per_minute
        if not await db.fetchval(_TAKE, self.name, between):
            row = the_row(await db.fetchrow(_WAIT, self.name))
            raise NotYet(row["seconds"] if row["seconds"] > 0 else _ELSEWHERE)
