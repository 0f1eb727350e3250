"""What happens to conflicts by itself: they are counted, and what was discarded goes in time."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, get_args

from darkroom_common.clock import monotonic
from darkroom_common.errors import DependencyUnavailable, PermanentError
from darkroom_common.messages.events import ConflictKind
from darkroom_common.objects.store import ObjectStore
from darkroom_common.postgres.phi import PGP_OPTIONS, PhiKeys
from darkroom_common.postgres.pool import Database
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import metadata as metrics
from darkroom_metadata.conflicts.objects import Desk, Kept

log = get_logger(__name__)
COUNT_SECONDS: Final = 15.0
REMOVE_SECONDS: Final = 600.0
_AGAIN: Final = timedelta(days=1)
"""After which an object is looked at again that was put once more since it was discarded."""
_COUNT: Final = (  # conflict_open
    "SELECT kind, count(*) AS n FROM index.conflict WHERE state = 'open' GROUP BY kind"
)
_DUE: Final = (  # conflict_removal
    "SELECT id, object_key, resolved_at FROM index.conflict WHERE state = 'discarded'"
    " AND remove_after < now() AND removed_at IS NULL ORDER BY remove_after LIMIT 1"
    " FOR UPDATE SKIP LOCKED"
)
_NAMED: Final = (  # instance_object, conflict_object, removed_object_key
    "SELECT EXISTS (SELECT FROM index.instance WHERE object_key = $1) OR EXISTS"
    " (SELECT FROM index.conflict WHERE object_key = $1 AND id <> $2 AND removed_at IS NULL"
    "  AND kind IN ('instance', 'correction'))"
    " OR EXISTS (SELECT FROM index.removed_object WHERE object_key = $1)"
)
_REMOVED: Final = (
    "UPDATE index.conflict SET removed_at = now(), header = NULL, version = version + 1"
    " WHERE id = $1"
)
_LATER: Final = "UPDATE index.conflict SET remove_after = now() + $2::interval WHERE id = $1"
_EMPTY: Final = (
    "SELECT id, object_key, encode(sha256, 'hex') AS sha256, receipt, received_at, calling_ae_title"
    " FROM index.conflict WHERE id > $1 AND kind = 'instance' AND header IS NULL"
    " AND removed_at IS NULL ORDER BY id LIMIT 1"
)
_FILL: Final = (
    "UPDATE index.conflict SET header = pgp_sym_encrypt($2, $3, $5), phi_key = $4"
    " WHERE id = $1 AND header IS NULL"
)


@dataclass
class Upkeep:
    """Looks after the table of conflicts. Any number of services may."""

    database: Database
    store: ObjectStore
    desk: Desk
    keys: PhiKeys

    async def run(self) -> None:
        """Look after them for ever; cancel to stop."""
        filled, removed = False, float("-inf")
        while True:
            try:
                await self.count()
                if not filled:
                    await self.fill_in()
                    filled = True
                if monotonic() - removed > REMOVE_SECONDS:
                    while await self.remove_one():
                        pass
                    removed = monotonic()
            except DependencyUnavailable as error:
                log.warning("conflicts.wait", reason=str(error))
            await asyncio.sleep(COUNT_SECONDS)

    async def count(self) -> None:
        """Set the gauge."""
        async with self.database.acquire() as db:
            found = {row["kind"]: row["n"] for row in await db.fetch(_COUNT)}
        for kind in get_args(ConflictKind):
            metrics.CONFLICTS_OPEN.labels(kind).set(found.get(kind, 0))

    async def remove_one(self) -> bool:
        """Delete the object of a conflict that was discarded long ago; tell if there was any.

        The row is locked meanwhile: whoever receives the same bytes again, and would open it again,
        waits. A crash before the commit has it done again, which finds no object and is content.
        """
        async with self.database.transaction() as db:
            row = await db.fetchrow(_DUE)
            if row is None:
                return False
            number, key = row["id"], row["object_key"]
            named = await db.fetchval(_NAMED, key, number)
            if named or await self.store.remove(key, untouched_since=row["resolved_at"]):
                await db.execute(_REMOVED, number)
                log.warning("conflict.removed", conflict=number, shared=named)
            else:
                await db.execute(_LATER, number, _AGAIN)
        return True

    async def fill_in(self) -> None:
        """Read the headers that an earlier release has not kept; what is damaged stays without."""
        last = 0
        while True:
            async with self.database.acquire() as db:
                row = await db.fetchrow(_EMPTY, last)
            if row is None:
                return
            last = row["id"]
            try:
                item = await self.desk.read(Kept.of(row))
            except PermanentError as error:
                log.warning("conflict.unreadable", conflict=last, reason=type(error).__name__)
                continue
            async with self.database.transaction() as db:
                key = self.keys.current_key, self.keys.current, PGP_OPTIONS
                await db.execute(_FILL, last, item.found.header, *key)
