"""Repairs what verification has found damaged, each store from the other (STO-07, STO-08).

Nothing is written over before the copy was read whole and is what was received. What neither store
has stays an open finding, and is tried again: the other store may have been away.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from darkroom_common.errors import PermanentError
from darkroom_common.messages.repairs import InstanceRepaired
from darkroom_common.objects.store import ObjectMissing, ObjectStore
from darkroom_common.postgres.pool import Connection
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import metadata as metrics
from darkroom_metadata.replication import due
from darkroom_metadata.replication.copying import read_now, replace_now
from darkroom_metadata.verification.expected import expected_of
from darkroom_metadata.verification.judgement import Expected, FindingKind
from darkroom_metadata.verification.ledger import Ledger
from darkroom_metadata.verification.verification import DAMAGE, Brake

log = get_logger(__name__)
AT_ONCE: Final = 20
TRIED_AGAIN: Final = timedelta(minutes=10)
_OPEN: Final = (  # verification_finding_open
    "SELECT object_key, kind FROM index.verification_finding WHERE resolved_at IS NULL"
    " AND kind = ANY($1::text[])"
    " AND (tried_at IS NULL OR tried_at < clock_timestamp() - $2::interval)"
    " ORDER BY first_seen, id LIMIT $3"
)
_TRIED: Final = (
    "UPDATE index.verification_finding SET tried_at = clock_timestamp()"
    " WHERE object_key = $1 AND kind = $2 AND resolved_at IS NULL"
)
_REPAIRED: Final = (
    "UPDATE index.verification_finding SET tried_at = clock_timestamp(),"
    " repaired_at = clock_timestamp(), resolved_at = clock_timestamp()"
    " WHERE object_key = $1 AND kind = ANY($2::text[]) AND resolved_at IS NULL"
)
_KINDS: Final = (*DAMAGE, FindingKind.REPLICA)


@dataclass(frozen=True)
class Repairs:
    """Writes over damaged objects.

    Args:
        store: where the objects are.
        replica: the second store, if there is one: it is repaired, too.
        copies: the stores that may have good copies of what is damaged here.
        ledger: that has the findings.
        brake: the pace of reading.
    """

    store: ObjectStore
    replica: ObjectStore | None
    copies: Sequence[ObjectStore]
    ledger: Ledger
    brake: Brake

    async def pending(self, db: Connection) -> int:
        """Try some of what is open, the session having the lock; return how many were tried.

        Raises:
            StoreUnavailable: one of the stores is away; it is tried later.
        """
        kinds = [kind.value for kind in _KINDS]
        rows = await db.fetch(_OPEN, kinds, TRIED_AGAIN, AT_ONCE)
        expected = await expected_of(db, [row["object_key"] for row in rows])
        for row in rows:
            kind, one = FindingKind(row["kind"]), expected.get(row["object_key"])
            if one is None:  # what named it is gone: the next check resolves it
                await db.execute(_TRIED, row["object_key"], kind.value)
                continue
            await self._repair(db, kind, one)
        return len(rows)

    async def _repair(self, db: Connection, kind: FindingKind, one: Expected) -> None:
        await self.brake.spend(2 * one.size)
        try:
            copied = await self._copied(kind, one)
        except PermanentError as error:
            await db.execute(_TRIED, one.object_key, kind.value)
            metrics.REPAIRED.labels("failed").inc()
            reason = type(error).__name__
            log.error("object.not_repaired", kind=kind.value, receipt=one.receipt, reason=reason)
            return
        settled = [FindingKind.REPLICA] if kind is FindingKind.REPLICA else DAMAGE
        async with db.transaction():
            await db.execute(_REPAIRED, one.object_key, [each.value for each in settled])
            if copied is not None:
                await due.has(db, [(one.object_key, *copied)])
            await self.ledger.outbox.put(
                db,
                InstanceRepaired(
                    receipt=one.receipt,
                    study_instance_uid=one.study_instance_uid,
                    series_instance_uid=one.series_instance_uid,
                    sop_instance_uid=one.sop_instance_uid,
                    object_key=one.object_key,
                    kind=kind.value,
                    sha256=one.sha256,
                    size=one.size,
                ),
            )
        metrics.REPAIRED.labels("repaired").inc()
        log.warning("object.repaired", kind=kind.value, receipt=one.receipt, key=one.object_key)

    async def _copied(self, kind: FindingKind, one: Expected) -> tuple[bytes, int] | None:
        """Copy a good one over the damaged one; return what the second store has now, if known.

        Raises:
            PermanentError: there is no good one.
        """
        if kind is FindingKind.REPLICA:
            if self.replica is None:
                raise ObjectMissing(one.object_key)
            await asyncio.to_thread(replace_now, self.store, self.replica, one)
            return await asyncio.to_thread(read_now, self.replica, one)
        why: PermanentError = ObjectMissing(one.object_key)
        for copy in self.copies:
            try:
                await asyncio.to_thread(replace_now, copy, self.store, one)
            except PermanentError as error:
                why = error
            else:
                return None
        raise why
