"""Runs the migrations: one process has each of them in hand, and lists, copies and compares."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from darkroom_common.dimse.requestor import PeerFault
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.jobs.attempt import Ending
from darkroom_common.jobs.lease import Claims
from darkroom_common.jobs.runner import Runner
from darkroom_common.messages.base import Reply
from darkroom_common.objects.interface import StoreUnavailable
from darkroom_common.resources.resource import NotThere, Unreadable
from darkroom_common.seal import Seal
from darkroom_common.specs.remote import FILES, FirstOrder, MigrationSpec
from darkroom_transmit.commitment.reporting import Checking
from darkroom_transmit.migration.copying import Copying
from darkroom_transmit.migration.files import BadDirectory
from darkroom_transmit.migration.listing import Listing
from darkroom_transmit.migration.opening import Bringing, Sources
from darkroom_transmit.migration.repository import PHASES, MigrationJob, MigrationJobs
from darkroom_transmit.migration.settling import Settling
from darkroom_transmit.migration.source import Source
from darkroom_transmit.migration.studies import Studies
from darkroom_transmit.retrieval.dimse import Handle
from darkroom_transmit.sending.throttle import Throttle

AT_ONCE: Final = 2
THREADS: Final = 24
UNREADABLE_SECONDS: Final = 60.0
STORE_SECONDS: Final = 5.0
_PATIENCE_SECONDS: Final = 5.0
_FIND: Final = "SELECT spec, state FROM transmit.migration WHERE id = $1"


@dataclass
class Migrations:
    """The migrations of this process."""

    jobs: MigrationJobs
    claims: Claims[MigrationJob]
    sources: Sources
    seal: Seal
    checking: Checking
    chance: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        """Make the threads, which start when they are needed."""
        self.runner = Runner(self.claims, self._attempt, at_once=AT_ONCE)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="migrate")

    async def run(self) -> None:
        """Run migrations, until cancelled; then give back what is under way."""
        try:
            await self.runner.run()
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], Any], handle: Handle) -> Any:
        """Do what blocks; when nobody waits any more, have it stop and wait a little for it."""
        doing = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await asyncio.shield(doing)
        except asyncio.CancelledError:
            handle.stop.set()
            handle.interrupt()
            await asyncio.wait({doing}, timeout=_PATIENCE_SECONDS)
            if doing.done() and not doing.cancelled():
                doing.exception()
            raise

    async def _attempt(self, job: MigrationJob) -> Ending:
        fault: BaseException | None = None
        try:
            if await self._migrate(job, job.spec):
                return Ending("DONE", columns={"at_work": 0})
        except ExceptionGroup as group:  # of those who work together, who fails first
            fault = _first(group)
            if not isinstance(fault, (PeerFault, StoreUnavailable, DependencyUnavailable)):
                raise fault from group
        except (NotThere, Unreadable, BadDirectory, PeerFault) as error:
            fault = error
        if job.stopped:
            return Ending(PHASES.waiting, columns={"at_work": 0})
        ending = self._because(job, fault)
        return replace(ending, columns={"at_work": 0})

    def _because(self, job: MigrationJob, fault: BaseException | None) -> Ending:
        """Return how an attempt ends that was not stopped and has not come to its end."""
        again = partial(self.jobs.kind.again, job, job.backoff, chance=self.chance())
        match fault:
            case NotThere() | BadDirectory() | PeerFault(reason="TooManyInAMinute"):
                return Ending(PHASES.failed, _word(fault))
            case Unreadable():  # until a version runs here that understands it
                return Ending(PHASES.waiting, "UnreadableDestination", wait=UNREADABLE_SECONDS)
            case StoreUnavailable() | DependencyUnavailable():
                return Ending(PHASES.retrying, type(fault).__name__, wait=STORE_SECONDS)
            case PeerFault():
                return again(reason=fault.reason)
            case _:
                return again(reason="Interrupted")

    async def _migrate(self, job: MigrationJob, spec: MigrationSpec) -> bool:
        """List and copy; return whether all is done."""
        slow = Throttle(spec.bytes_per_second)
        if spec.way in FILES:
            files = self.sources.files(spec, slow)
            listing = self._listing(job, spec).files(files.top)
            return await self._both(job, listing, self._copying(job, spec, files, slow))
        async with self.sources.archive(spec, slow) as archive:
            listing = self._listing(job, spec).archive(archive, self.claims.clock.now().date())
            return await self._both(job, listing, self._copying(job, spec, archive, slow))

    @staticmethod
    async def _both(
        job: MigrationJob, listing: Coroutine[Any, Any, None], copying: Copying
    ) -> bool:
        if job.row["listed"]:
            listing.close()
            await copying.run()
        else:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(listing)
                tasks.create_task(copying.run())
        return copying.finished

    def _studies(self, migration: str) -> Studies:
        return Studies(migration, self.seal)

    def _listing(self, job: MigrationJob, spec: MigrationSpec) -> Listing:
        in_thread = partial(self._in_thread, handle=Handle())
        database = self.claims.database
        return Listing(job, spec, self._studies(job.id), database, self.seal, in_thread)

    def _copying(
        self, job: MigrationJob, spec: MigrationSpec, source: Source, slow: Throttle
    ) -> Copying:
        studies, database = self._studies(job.id), self.claims.database
        settling = Settling(job.id, studies, database, self.checking, slow, source.by_us)
        needs_all = spec.way in FILES
        return Copying(
            job, spec, studies, database, source, settling, needs_all, self._in_thread, slow
        )

    async def first(self, migration: str, order: FirstOrder, by: str) -> Reply:
        """Have studies come before all else; answer how many they are."""
        threads = partial(self._in_thread, handle=Handle())
        bringing = Bringing(self.claims.database, self.sources, self.seal, threads)
        return await bringing.first(migration, order, by)


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


def _word(fault: BaseException) -> str:
    match fault:
        case NotThere():
            return "UnknownDestination"
        case PeerFault():
            return fault.reason
        case _:
            return str(fault)
