"""What was received against what is stored: a study is done when each of its objects is judged."""

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from darkroom_common.clock import SYSTEM_CLOCK, Clock
from darkroom_common.index.objects import stored_now
from darkroom_common.index.rows import StoredInstance
from darkroom_common.postgres.pool import Connection, Database
from darkroom_transmit.commitment.reporting import Checking
from darkroom_transmit.migration.studies import Studies
from darkroom_transmit.sending.throttle import Throttle

AT_ONCE: Final = 20
PATIENCE: Final = dt.timedelta(seconds=60)
"""From when all has come to when the index must show it; then it is to come once more."""
NOT_STORED: Final = "NotStored"
ALTERED: Final = "StoredAltered"
DIFFERS: Final = "DiffersFromStored"
_COPIED: Final = (  # migration_study_copied
    "SELECT id, study_instance_uid, copied_at, told, reason FROM transmit.migration_study"
    " WHERE migration_id = $1 AND state = 'COPIED' AND id > $2 ORDER BY id LIMIT $3"
)
_OBJECTS: Final = (
    "SELECT id, sop_instance_uid, sop_class_uid, outcome, sha256, size, reason"
    " FROM transmit.migration_object WHERE migration_id = $1 AND study_instance_uid = $2"
)
_JUDGED: Final = (
    "UPDATE transmit.migration_object o SET outcome = t.outcome, reason = t.reason"
    " FROM unnest($1::bigint[], $2::text[], $3::text[]) AS t (id, outcome, reason)"
    " WHERE o.id = t.id"
)
_LOST: Final = (
    "UPDATE transmit.migration_object SET outcome = '', sha256 = NULL, size = NULL"
    " WHERE id = ANY($1::bigint[])"
)
_DONE: Final = (
    "UPDATE transmit.migration_study SET state = 'DONE', settled_at = now(), objects = $3,"
    " there = $4, missing = $5, differing = $6, refused = $7, digest = $8, reason = $9"
    " WHERE migration_id = $1 AND study_instance_uid = $2 AND state = 'COPIED' RETURNING id"
)
_COUNTED: Final = (
    "UPDATE transmit.migration SET studies_done = studies_done + 1, there = there + $2,"
    " missing = missing + $3, differing = differing + $4, refused = refused + $5,"
    " updated_at = now() WHERE id = $1"
)
_FORGET: Final = (
    "DELETE FROM transmit.migration_object WHERE migration_id = $1 AND study_instance_uid = $2"
)


@dataclass(frozen=True)
class Settling:
    """Judges the studies of a migration whose objects have come.

    Attributes:
        checking: reads objects back from the store.
        throttle: of what did not come by us; told of the bytes that have come.
    """

    migration: str
    studies: Studies
    database: Database
    checking: Checking
    throttle: Throttle
    by_us: bool
    clock: Clock = SYSTEM_CLOCK

    async def some(self) -> int:
        """Judge the studies that can be; return how many were done.

        Raises:
            StoreUnavailable: objects cannot be read back now.
        """
        done, behind = 0, 0
        while True:
            async with self.database.acquire() as db:
                rows = await db.fetch(_COPIED, self.migration, behind, AT_ONCE)
            for row in rows:
                done += await self._study(row)
            if len(rows) < AT_ONCE:
                return done
            behind = rows[-1]["id"]

    async def _study(self, study: Any) -> bool:
        uid = study["study_instance_uid"]
        async with self.database.acquire() as db:
            objects = await db.fetch(_OBJECTS, self.migration, uid)
            came = [one for one in objects if one["outcome"] == "received"]
            stored = await stored_now(db, [one["sop_instance_uid"] for one in came])
        lost = [one["id"] for one in came if one["sop_instance_uid"] not in stored]
        if lost:
            if self.clock.now() < study["copied_at"] + PATIENCE:
                return False
            async with self.database.transaction() as db:
                await db.execute(_LOST, lost)
                await self.studies.again(db, uid, NOT_STORED)
            return False
        if not self.by_us:
            self.throttle.reserve(sum(one.size for one in stored.values()))
        judged = {one["id"]: await self._judged(one, stored) for one in came}
        async with self.database.transaction() as db:
            await self._done(db, study, objects, judged)
        return True

    async def _judged(self, one: Any, stored: Mapping[str, StoredInstance]) -> tuple[str, str]:
        """Return outcome and reason of an object that was received and is in the index."""
        kept = stored[one["sop_instance_uid"]]
        if one["sha256"] is not None and one["sha256"] != kept.sha256:
            return "differing", DIFFERS
        if await self.checking.look(kept.sop_class_uid, kept):
            return "differing", ALTERED
        return "there", ""

    async def _done(
        self,
        db: Connection,
        study: Any,
        objects: Sequence[Any],
        judged: Mapping[int, tuple[str, str]],
    ) -> None:
        uid = study["study_instance_uid"]
        outcomes = {one["id"]: one["outcome"] for one in objects}
        outcomes |= {number: outcome for number, (outcome, _) in judged.items()}
        counts = [
            sum(outcome == word for outcome in outcomes.values())
            for word in ("there", "missing", "differing", "refused")
        ]
        reason = study["reason"]
        if not objects:
            counts[1] = study["told"] or 0
        elif study["told"] not in (None, len({one["sop_instance_uid"] for one in objects})):
            reason = f"CountDiffers: {study['told']} told"
        elif counts[0] == len(objects):
            reason = ""
        digest = await self._digest(db, objects, outcomes)
        done = await db.fetchval(
            _DONE, self.migration, uid, len(objects), *counts, digest, reason[:200]
        )
        if done is None:  # an operator has had it tried again
            return
        if counts[0] == len(objects):
            await db.execute(_FORGET, self.migration, uid)
        else:
            pairs = list(judged.items())
            await db.execute(
                _JUDGED,
                [number for number, _ in pairs],
                [outcome for _, (outcome, _) in pairs],
                [why for _, (_, why) in pairs],
            )
        await db.execute(_COUNTED, self.migration, *counts)

    @staticmethod
    async def _digest(
        db: Connection, objects: Sequence[Any], outcomes: Mapping[int, str]
    ) -> bytes | None:
        there = {one["sop_instance_uid"] for one in objects if outcomes[one["id"]] == "there"}
        if not there:
            return None
        stored = await stored_now(db, sorted(there))
        lines = sorted(f"{uid} {one.sha256.hex()}\n" for uid, one in stored.items())
        return hashlib.sha256("".join(lines).encode()).digest()
