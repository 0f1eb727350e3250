"""Keeps the receiving processes: starts them, hears their reports, starts them again, drains them.

All accept on one listening socket, which the main process holds: a worker that is killed loses no
connection that waits, and the port stays open.
"""

import asyncio
import mmap
import os
import socket
from dataclasses import dataclass
from typing import Any, Final

from darkroom_common.dimse import census
from darkroom_common.errors import Unhealthy
from darkroom_common.objects.receipt import Receipt
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.merged import MergedMetrics
from darkroom_common.workers.forks import Child
from darkroom_ingest.door.nursery import Nursery
from darkroom_ingest.door.reports import (
    PACKET,
    Counted,
    Drain,
    Failed,
    Leave,
    Missed,
    Started,
    decode,
    encode,
)
from darkroom_ingest.door.worker import Inherited
from darkroom_ingest.relaying.relay import Relay

log = get_logger(__name__)
_AT_ONCE: Final = 256  # messages that are read before others have a turn
_TOGETHER: Final = 0.02
"""Seconds after reading in which messages may gather: under load one wake-up is for many."""
_DELAY: Final = 0.2  # seconds before a worker is started again
_LAST_DELAY: Final = 5.0
_GRACE: Final = 3.0  # seconds beyond the drain limit


@dataclass
class Worker:
    """One worker as the main process knows it."""

    process: Child
    control: socket.socket
    started: bool = False
    pause: asyncio.TimerHandle | None = None


@dataclass(frozen=True)
class Listeners:
    """The sockets on which all workers accept."""

    dicom: socket.socket | None
    """Where DICOM is over TLS alone there is none."""
    tls: socket.socket | None
    """Without TLS there is none."""
    stow: socket.socket


class Workers:
    """The receiving processes of one ingest."""

    def __init__(self, count: int, nursery: Nursery, listeners: Listeners, relay: Relay) -> None:
        self.metrics = MergedMetrics()
        self._nursery = nursery
        self._listeners = listeners
        self._relay = relay
        self._workers: dict[int, Worker] = {}
        self._count = count
        self._failed = ""
        self._draining = asyncio.Event()
        self._census = os.memfd_create("census", os.MFD_CLOEXEC)
        os.ftruncate(self._census, census.ROW * count)
        self._counts = memoryview(mmap.mmap(self._census, 0))

    @property
    def failed(self) -> str:
        """Why no worker takes anything until a restart; empty while all is well."""
        return self._failed

    async def check(self) -> None:
        """Raise `Unhealthy` while a worker is not receiving."""
        up = sum(worker.started for worker in self._workers.values())
        if up < self._count:
            raise Unhealthy(f"{up} of {self._count} receiving processes are up")

    async def run(self) -> None:
        """Keep all workers running, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(self._count):
                tasks.create_task(self._keep(number))

    async def _keep(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        delay = _DELAY
        while not self._draining.is_set():
            began = loop.time()
            worker = await self._start(number)
            try:
                code = await worker.process.wait()
            finally:
                self._ended(number, worker)
            if self._draining.is_set():
                break
            log.error("worker.ended", worker=number, code=code)
            delay = _DELAY if loop.time() - began > _LAST_DELAY else min(delay * 2, _LAST_DELAY)
            await asyncio.sleep(delay)
        await asyncio.Event().wait()  # until cancelled: the service is about to end

    async def _start(self, number: int) -> Worker:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            listeners = self._listeners
            inherited = Inherited(
                self._relay.spool.run,
                number,
                listeners.stow.fileno(),
                theirs.fileno(),
                self._census,
                tuple(one.fileno() for one in (listeners.dicom, listeners.tls) if one is not None),
            )
            process = await self._nursery.fork(inherited)
        ours.settimeout(0)
        worker = self._workers[number] = Worker(process, ours)
        self._listen(number, worker)
        if self._failed:
            self._say(worker, Failed(self._failed))
        return worker

    def _ended(self, number: int, worker: Worker) -> None:
        self._take(number, worker)
        if worker.pause is not None:
            worker.pause.cancel()
        asyncio.get_running_loop().remove_reader(worker.control)
        worker.control.close()
        worker.started = False
        census.clear(self._counts, number)
        self.metrics.ended(number)
        self._relay.look()  # for what it has made durable and could not tell

    def _listen(self, number: int, worker: Worker) -> None:
        asyncio.get_running_loop().add_reader(worker.control, self._hear, number, worker)

    def _hear(self, number: int, worker: Worker) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(worker.control)
        if self._take(number, worker):
            worker.pause = loop.call_later(_TOGETHER, self._listen, number, worker)

    def _take(self, number: int, worker: Worker) -> bool:
        """Take what a worker has said; return whether it may say more."""
        for _ in range(_AT_ONCE):
            try:
                message = worker.control.recv(PACKET)
            except OSError:
                break
            if not message:
                return False
            match decode(message):
                case Receipt() as receipt:
                    self._relay.add(receipt)
                case Counted(rows):
                    self.metrics.put(number, rows)
                case Missed():
                    self._relay.look()
                case Started():
                    worker.started = True
                    log.info("worker.started", worker=number, pid=worker.process.pid)
                case Failed(reason):
                    self._fail(reason)
                case Drain() | Leave():
                    pass  # only said in the other direction
        return True

    def _fail(self, reason: str) -> None:
        if not self._failed:
            log.error("spool.failed", reason=reason)
        self._failed = self._failed or reason
        for worker in self._workers.values():
            self._say(worker, Failed(reason))

    @staticmethod
    def _say(worker: Worker, report: Failed | Drain | Leave) -> None:
        try:
            worker.control.send(encode(report))
        except OSError as error:
            log.warning("worker.not_told", reason=error.strerror)

    async def leave(self, limit: float, told_to_end: asyncio.Event) -> None:
        """Accept nobody, since another process does, and wait until all have gone.

        Args:
            limit: seconds for that; who is here then is drained.
            told_to_end: not to wait any longer.
        """
        self._draining.set()
        running = [w for w in self._workers.values() if w.process.returncode is None]
        for worker in running:
            self._say(worker, Leave())
        for listener in (self._listeners.dicom, self._listeners.tls, self._listeners.stow):
            if listener is not None:
                listener.close()
        told = asyncio.create_task(told_to_end.wait())
        gone = asyncio.gather(*(worker.process.wait() for worker in running))
        waited: set[asyncio.Future[Any]] = {told, gone}
        await asyncio.wait(waited, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        for one in waited:
            one.cancel()
        await asyncio.gather(*waited, return_exceptions=True)

    async def drain(self, limit: float) -> None:
        """Let current objects finish, refuse others, and end every worker."""
        self._draining.set()
        running = [w for w in self._workers.values() if w.process.returncode is None]
        for worker in running:
            self._say(worker, Drain(limit))
        try:
            async with asyncio.timeout(limit + _GRACE):
                await asyncio.gather(*(worker.process.wait() for worker in running))
        except TimeoutError:
            log.error("worker.killed", reason="did not drain in time")
            for worker in running:
                if worker.process.returncode is None:
                    worker.process.kill()
            await asyncio.gather(*(worker.process.wait() for worker in running))
