"""Verification as the service does it by itself: a slice at a time, while nothing is pressing."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from darkroom_common.clock import SYSTEM_CLOCK, Clock
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.objects.store import StoreUnavailable
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import metadata as metrics
from darkroom_metadata.verification.judgement import Check
from darkroom_metadata.verification.ledger import DUE, Ledger
from darkroom_metadata.verification.repairing import Repairs
from darkroom_metadata.verification.verification import Step

log = get_logger(__name__)
SLICE_SECONDS: Final = 10.0
"""After so long the lock is free for a moment: an operator's run gets in between."""
BREATH_SECONDS: Final = 1.0
BUSY_SECONDS: Final = 5.0
"""After so long it is asked again whether the index is still behind."""
IDLE_SECONDS: Final = 60.0
_TIERS: Final = {"fast": Check.CONTENTS, "slow": Check.SLOW}
_SHIPPING: Final = (  # the slot of `darkroom ship`, where somebody has begun that
    "SELECT NOT active AS stopped, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)"
    "::bigint AS behind FROM pg_replication_slots WHERE slot_name = 'darkroom_shipping'"
)


@dataclass(frozen=True)
class Planned:
    """One check and how often it runs."""

    step: Step
    every: timedelta
    age: timedelta
    """Contents: what was read back within so long is left out."""


@dataclass
class Schedule:
    """Runs what is planned. Any number of services may: the lock lets one at a time work."""

    database: Database
    ledger: Ledger
    planned: Sequence[Planned]
    behind: Callable[[], bool]
    """Whether the index is behind: then verification waits."""
    clock: Clock = SYSTEM_CLOCK
    repairs: Repairs | None = None
    """What is damaged is repaired by, from the second store; None: there is none."""

    async def run(self) -> None:
        """Verify for ever; cancel to stop. A store or a database that is away is waited for."""
        while True:
            pause = BUSY_SECONDS
            if not self.behind():
                pause = IDLE_SECONDS
                try:
                    if await self.slice():
                        pause = BREATH_SECONDS
                except DependencyUnavailable as error:
                    _waits(error)
                except Exception:  # it must not take indexing down with it
                    log.exception("verification.failed")
            await asyncio.sleep(pause)

    async def slice(self) -> bool:
        """Do some of what is due; tell whether there was any.

        A store that is away keeps its own checks waiting, and no other's.

        Raises:
            DependencyUnavailable: the database is away; the run goes on later.
        """
        async with self.database.session() as db:
            await self._measure(db)
            if not await self.ledger.lock(db):
                return False
            if self.repairs is not None and await self.repairs.pending(db):
                await self._measure(db)
                return True
            for planned in self.planned:
                if await self.ledger.is_time(db, planned.step.check, planned.every):
                    try:
                        await self._advance(db, planned)
                    except StoreUnavailable as error:
                        _waits(error)
                        continue
                    await self._measure(db)
                    return True
        return False

    async def _advance(self, db: Connection, planned: Planned) -> None:
        ends = self.clock.monotonic() + SLICE_SECONDS
        run = await self.ledger.open(db, planned.step.check, DUE, age=planned.age)
        while not run.finished and self.clock.monotonic() < ends and not self.behind():
            run, _ = await planned.step.advance(db, run)
        if run.finished:
            log.info(
                "verification.finished",
                check=run.check.value,
                checked=run.checked,
                bytes=run.bytes,
                findings=run.findings,
            )

    async def _measure(self, db: Connection) -> None:
        for kind, count in (await self.ledger.open_findings(db)).items():
            metrics.FINDINGS_OPEN.labels(kind.value).set(count)
        shipping = await db.fetchrow(_SHIPPING)
        metrics.SHIPPING_STOPPED.set(bool(shipping and shipping["stopped"]))
        metrics.SHIPPING_BEHIND.set(shipping["behind"] if shipping else 0)
        ages = {one.step.check: one.age for one in self.planned}
        for tier, check in _TIERS.items():
            waited = await self.ledger.oldest(db, in_slow=check is Check.SLOW)
            metrics.VERIFIED_OLDEST.labels(tier).set(waited.total_seconds())
            late = waited - ages.get(check, waited)  # what is never read back is never late
            metrics.VERIFICATION_LATE.labels(tier).set(max(0.0, late.total_seconds()))


def _waits(error: DependencyUnavailable) -> None:
    log.warning("verification.waits", reason=str(error))
