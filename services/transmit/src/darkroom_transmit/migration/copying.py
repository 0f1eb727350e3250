"""Brings the studies of a migration, a few at a time, and what somebody waits for at once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from zoneinfo import ZoneInfo

from darkroom_common.clock import SYSTEM_CLOCK, Clock
from darkroom_common.dimse.requestor import PeerFault
from darkroom_common.postgres.pool import Database
from darkroom_common.specs.remote import MigrationSpec
from darkroom_common.telemetry.logs import get_logger
from darkroom_transmit.destinations.destination import next_opening
from darkroom_transmit.migration.repository import MigrationJob
from darkroom_transmit.migration.settling import Settling
from darkroom_transmit.migration.source import AWAY, Asked, Receipt, Source
from darkroom_transmit.migration.studies import Next, Studies
from darkroom_transmit.retrieval.dimse import Handle
from darkroom_transmit.sending.throttle import Throttle

log = get_logger(__name__)
LOOK_SECONDS: Final = 0.5
"""How late somebody's wish, or a window that opens, is seen."""
FLUSH_SECONDS: Final = 0.5
NOT_COME: Final = "NotCome"
_STATE: Final = (
    "SELECT m.listed, EXISTS (SELECT FROM transmit.migration_study s WHERE s.migration_id = m.id"
    " AND s.state <> 'DONE') AS left FROM transmit.migration m WHERE m.id = $1"
)


@dataclass
class Copying:
    """Copies the studies of a migration that is in the hands of this process.

    Attributes:
        source: where objects come from.
        needs_all: nothing that nobody has asked for is copied before all is listed.
        in_thread: does what blocks, as long as its handle is not told to stop.
        slow: is told of bytes, and says how long to wait.
    """

    job: MigrationJob
    spec: MigrationSpec
    studies: Studies
    database: Database
    source: Source
    settling: Settling
    needs_all: bool
    in_thread: Callable[[Callable[[], Any], Handle], Awaitable[Any]]
    slow: Throttle
    clock: Clock = SYSTEM_CLOCK
    _in_hand: set[str] = field(default_factory=set)
    _done: bool = False

    @property
    def _is_over(self) -> bool:
        return self._done or self.job.over.is_set()

    async def run(self) -> None:
        """Copy until all is done, or the job is stopped.

        Raises:
            PeerFault: the source, or ingest, is away.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._settle())
            tasks.create_task(self._copy(asked=True))
            for _ in range(self.spec.studies_at_once):
                tasks.create_task(self._copy(asked=False))

    @property
    def finished(self) -> bool:
        """Whether all studies are done."""
        return self._done

    async def _settle(self) -> None:
        while not self._is_over:
            await self.settling.some()
            listed, left = await self._state()
            if listed and not left and not self._in_hand:
                self._done = True
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _copy(self, *, asked: bool) -> None:
        while not self._is_over:
            if not asked and not await self._may_go():
                await asyncio.sleep(LOOK_SECONDS)
                continue
            async with self.database.acquire() as db:
                found = await self.studies.next(db, list(self._in_hand), asked=asked)
            if found is None or found.study in self._in_hand:  # another has been faster
                await asyncio.sleep(LOOK_SECONDS)
                continue
            await self._study(found)

    async def _may_go(self) -> bool:
        """Tell whether what nobody waits for may be copied now."""
        if self.slow.reserve(0) > 0:
            return False
        now = self.clock.now()
        windows = self.spec.windows
        if windows and next_opening(windows, ZoneInfo(self.spec.time_zone), now) != now:
            return False
        if not self.needs_all:
            return True
        return (await self._state())[0]

    async def _state(self) -> tuple[bool, bool]:
        """Return whether all is listed, and whether there is a study that is not done."""
        async with self.database.acquire() as db:
            row = await db.fetchrow(_STATE, self.job.id)
        return (False, False) if row is None else (row["listed"], row["left"])

    async def _study(self, found: Next) -> None:
        self._in_hand.add(found.study)
        handle = Handle(hurried=found.asked)
        self.job.handles.add(handle)
        began = self.clock.monotonic()
        try:
            await self._bring(found, handle)
        except PeerFault as fault:
            if self._is_over:
                return
            if fault.reason in AWAY:
                raise
            log.warning("migration.study", job=self.job.id, reason=fault.reason, tries=found.tries)
            async with self.database.transaction() as db:
                await self.studies.again(db, found.study, fault.reason)
        finally:
            self.job.handles.discard(handle)
            self._in_hand.discard(found.study)
        took = round(self.clock.monotonic() - began, 3)
        log.debug("migration.copied", job=self.job.id, seconds=took)

    async def _bring(self, found: Next, handle: Handle) -> None:
        listed = await self.in_thread(lambda: self.source.contents(found.study), handle)
        async with self.database.transaction() as db:
            if listed:
                await self.studies.add_objects(db, found.study, listed)
            wanted = await self.studies.wanted(db, found.study)
        if wanted:
            uids = {one.sop_instance_uid for one in wanted}
            whole = uids == {one.sop_instance_uid for one in listed}
            await self._fetch(Asked(found.study, wanted, whole), handle)
        async with self.database.transaction() as db:
            if not await self.studies.wanted(db, found.study):
                await self.studies.copied(db, found.study)
            elif not self._is_over:
                await self.studies.again(db, found.study, NOT_COME)

    async def _fetch(self, asked: Asked, handle: Handle) -> None:
        """Have objects come, and keep what became of them while they do."""
        receipts: list[Receipt] = []
        fetching = asyncio.ensure_future(
            self.in_thread(lambda: self.source.fetch(asked, receipts.append, handle), handle)
        )
        try:
            while not fetching.done():
                await asyncio.wait({fetching}, timeout=FLUSH_SECONDS)
                await self._keep(receipts)
            await fetching
        finally:
            fetching.cancel()
            await asyncio.wait({fetching})
            await self._keep(receipts)

    async def _keep(self, receipts: list[Receipt]) -> None:
        some: Sequence[Receipt] = receipts[:]
        if not some:
            return
        async with self.database.transaction() as db:
            if await self.studies.received(db, some):
                self.job.progressed = True
        del receipts[: len(some)]
