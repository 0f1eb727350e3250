"""How long a site's files of changes stay: until the other site has read them, and a while more.

A site that is restored from a backup reads some of them once more; that is what the while is for.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from darkroom_common.clock import SYSTEM_CLOCK, Clock
from darkroom_common.postgres.pool import Connection
from darkroom_common.telemetry.logs import get_logger
from darkroom_metadata.replication.journal import Beginning, Journal

log = get_logger(__name__)
_AT_ONCE: Final = 500
_LOOK_SECONDS: Final = 600.0
_SITE: Final = "SELECT sent, first, begun, heard FROM index.replication_site"
_SET_FIRST: Final = "UPDATE index.replication_site SET first = $1"
_HEARD: Final = (  # few rows
    "SELECT p.heard, p.heard > s.told_heard AND s.told_heard_at < clock_timestamp() - $1::interval"
    " AS is_due FROM index.replication_site s,"
    " (SELECT coalesce(max(taken), 0) AS heard FROM index.replication_peer) AS p"
)
_SAY_EVERY: Final = timedelta(days=1)
_TOLD: Final = (
    "UPDATE index.replication_site SET told_heard = $1, told_heard_at = clock_timestamp()"
)


@dataclass
class Keeping:
    """What becomes of the files of a site.

    Args:
        journal: that they are of.
        days: for which each stays; 0: they all stay.
        follows: whether the other site tells this one how far it has read. If it does not, a file
            goes by its days alone.
    """

    journal: Journal
    days: int
    follows: bool
    clock: Clock = SYSTEM_CLOCK
    look_at: float = float("-inf")
    _said: Beginning | None = None

    async def heard(self, db: Connection) -> tuple[int, bool]:
        """Return how far this site has read the other, and whether that is to be told by itself."""
        row = await db.fetchrow(_HEARD, _SAY_EVERY)
        return (row["heard"], row["is_due"]) if row else (0, False)

    @staticmethod
    async def told(db: Connection, heard: int) -> None:
        """Keep what was told of how far this site has read."""
        await db.execute(_TOLD, heard)

    async def here(self, db: Connection) -> Beginning:
        """Return where the files begin."""
        row = await db.fetchrow(_SITE)
        return Beginning(row["first"], row["begun"]) if row else Beginning()

    async def say(self, beginning: Beginning) -> None:
        """Have the store say where the files begin.

        Raises:
            StoreUnavailable: the store is away.
        """
        if self._said is None:
            self._said = await self.journal.beginning()
        if self._said != beginning:
            await self.journal.begin(beginning)
            self._said = beginning

    async def prune(self, db: Connection) -> int:
        """Remove what is not needed any more, now and then; return how many files.

        Raises:
            StoreUnavailable: the store is away.
        """
        if not self.days or self.clock.monotonic() < self.look_at:
            return 0
        row = await db.fetchrow(_SITE)
        if row is None:
            return 0
        # The last one stays: by it a store that is not mounted is known.
        last = min(row["sent"] - 1, row["heard"] if self.follows else row["sent"])
        until = self.clock.now() - timedelta(days=self.days)
        first: int = row["first"]
        number = first
        while number <= last and number - first < _AT_ONCE and await self._is_old(number, until):
            number += 1
        if number > first:
            # Said first, and kept last: who reads is not left to wait, and a crash does it again.
            await self.say(Beginning(number, row["begun"]))
            for one in range(first, number):
                await self.journal.remove(one, self.clock.now())
            await db.execute(_SET_FIRST, number)
            log.info("replication.pruned", first=number)
        if number - first < _AT_ONCE:
            self.look_at = self.clock.monotonic() + _LOOK_SECONDS
        return number - first

    async def _is_old(self, number: int, until: datetime) -> bool:
        found = await self.journal.file(number)
        if found is None:
            return True
        return all(datetime.fromisoformat(one["at"]) < until for one in found.changes)
