"""Worker processes that answer a line with a line; a crash, a loop or greed costs one task."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from darkroom_common.errors import DarkroomError
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
LINE: Final = 4 << 20
"""Bytes of one answer, at most."""


class WorkerFault(DarkroomError):
    """A worker has not answered. It is gone; the next task gets another one."""


class WorkerCrashed(WorkerFault):
    """It ended while it worked at the task."""


class WorkerTooSlow(WorkerFault):
    """It took longer than it may, and was ended."""


class WorkerGone(WorkerFault):
    """It ended before it took the task."""


class Workers:
    """Processes of a module, started when they are first needed.

    Args:
        module: is run with `arguments`; it reads a line of its standard input and writes a line for
            it, until there is no other.
        processes: that work at once; further tasks wait.
    """

    def __init__(self, module: str, *arguments: str, processes: int) -> None:
        self._module = module
        self._command = (sys.executable, "-m", module, *arguments)
        self._processes = processes
        self._idle: list[Process] = []
        self._all: set[Process] = set()
        self._free = asyncio.Semaphore(processes)

    async def ask(self, line: bytes, limit: float) -> bytes:
        r"""Return the answer to a line; both end with `\n`.

        Args:
            line: the task.
            limit: seconds for the work, without the wait for a free worker.

        Raises:
            WorkerCrashed: see there; the task may be what it died of.
            WorkerTooSlow: likewise.
            WorkerGone: nothing was done.
        """
        async with self._free:
            return await self._answer(self._waiting() or await self._start(), line, limit)

    async def _answer(self, worker: Process, line: bytes, limit: float) -> bytes:
        answer = b""
        try:
            async with asyncio.timeout(limit):
                answer = await _exchange(worker, line)
        except TimeoutError as error:
            log.warning("worker.too_slow", module=self._module, seconds=round(limit))
            raise WorkerTooSlow(f"{self._module} took too long") from error
        except (BrokenPipeError, ConnectionResetError) as error:
            raise WorkerGone(f"{self._module} was gone") from error
        finally:
            if answer.endswith(b"\n"):
                self._idle.append(worker)
            else:
                await self._end(worker)
        if not answer.endswith(b"\n"):
            log.warning("worker.crashed", module=self._module, status=worker.returncode)
            raise WorkerCrashed(f"{self._module} crashed")
        return answer

    def _waiting(self) -> Process | None:
        """Return one that waits, if any; those that ended while they waited are left out."""
        while self._idle:
            worker = self._idle.pop()
            if _is_alive(worker):
                return worker
            self._all.discard(worker)
        return None

    async def warm(self) -> None:
        """Start all of them now; the first task then need not wait for one."""
        while len(self._all) < self._processes:
            self._idle.append(await self._start())

    async def _start(self) -> Process:
        worker = await asyncio.create_subprocess_exec(
            *self._command, stdin=PIPE, stdout=PIPE, limit=LINE
        )
        self._all.add(worker)
        return worker

    async def _end(self, worker: Process) -> None:
        self._all.discard(worker)
        if worker.returncode is None:
            worker.kill()
        await asyncio.shield(worker.wait())

    async def close(self) -> None:
        """End all of them."""
        self._idle.clear()
        for worker in list(self._all):
            await self._end(worker)


@asynccontextmanager
async def open_workers(module: str, *arguments: str, processes: int) -> AsyncIterator[Workers]:
    """Hold workers for the length of a block; see `Workers`."""
    workers = Workers(module, *arguments, processes=processes)
    try:
        yield workers
    finally:
        await workers.close()


def _is_alive(worker: Process) -> bool:
    """Ask the kernel: asyncio learns of the end of a process later."""
    if worker.returncode is not None:
        return False
    try:
        return os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


async def _exchange(worker: Process, line: bytes) -> bytes:
    """Return the line that a worker answers; nothing, or a part, when it has ended."""
    if worker.stdin is None or worker.stdout is None:
        raise BrokenPipeError
    worker.stdin.write(line)
    await worker.stdin.drain()
    return await worker.stdout.readline()
