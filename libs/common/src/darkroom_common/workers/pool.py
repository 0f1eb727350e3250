"""Worker processes that answer a line with a line; a crash, a loop or greed costs one task.

The service asks `Workers`; a worker is a module whose main hands its work to `answer_tasks`.
"""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from darkroom_common.telemetry.logs import get_logger
from darkroom_common.workers.answering import TAKEN
from darkroom_common.workers.faults import WorkerCrashed, WorkerGone, WorkerTooSlow
from darkroom_common.workers.forks import Forked, Forks

log = get_logger(__name__)
Worker = Process | Forked
LINE: Final = 4 << 20
"""Bytes of one answer, at most."""
_PIECE: Final = 1 << 16
STARTING: Final = 20.0
"""Seconds that a new worker has until it takes its first task, besides those of the task: on a busy
machine what it imports takes longer than most tasks."""
ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
"""A worker has one task: threads for each core, and an arena of 64 MiB for each thread, would only
take of its address space."""


class Held:
    """A worker that has answered a task, and may go on with bytes that it still makes.

    Attributes:
        line: its answer.
    """

    def __init__(self, module: str, worker: Worker, line: bytes, limit: float) -> None:
        self.line = line
        self._module = module
        self._worker = worker
        self._limit = limit
        self._to_come = 0

    @property
    def is_free(self) -> bool:
        """Whether all that was to come has been read."""
        return self._to_come == 0

    def expect(self, length: int) -> None:
        """Say that the line is followed by so many bytes."""
        self._to_come += length

    async def follow(self) -> bytes:
        """Return the next line of a worker that answers with several, instead of `line`.

        Whoever does not read the last one of them leaves the block with an error.

        Raises:
            WorkerCrashed: the worker has ended before.
            WorkerTooSlow: it was silent for longer than it may.
        """
        try:
            async with asyncio.timeout(self._limit):
                line = await _stdout(self._worker).readline()
        except TimeoutError as error:
            raise self._too_slow() from error
        except ValueError as error:  # asyncio's word for a line that is too long
            raise self._crashed() from error
        if not line.endswith(b"\n"):
            raise self._crashed()
        self.line = line
        return line

    def _too_slow(self) -> WorkerTooSlow:
        log.warning("worker.too_slow", module=self._module, seconds=round(self._limit))
        return WorkerTooSlow(f"{self._module} took too long")

    def _crashed(self) -> WorkerCrashed:
        log.warning("worker.crashed", module=self._module, status=self._worker.returncode)
        return WorkerCrashed(f"{self._module} crashed")

    async def read(self, length: int) -> AsyncIterator[bytes]:
        """Yield the next `length` bytes of those that are expected, in pieces.

        Raises:
            WorkerCrashed: the worker has ended before.
            WorkerTooSlow: it was silent for longer than it may.
        """
        while length:
            try:
                async with asyncio.timeout(self._limit):
                    data = await _stdout(self._worker).read(min(length, _PIECE))
            except TimeoutError as error:
                raise self._too_slow() from error
            if not data:
                raise self._crashed()
            length -= len(data)
            self._to_come -= len(data)
            yield data


class Workers:
    """Processes of a module, started when they are first needed.

    Args:
        module: is run with `arguments`; it reads a line of its standard input and writes a line for
            it, and perhaps bytes or further lines after that, until there is no other.
        processes: that work at once; further tasks wait.
        longest: bytes of the line of an answer.
        fresh: each task gets a process of its own, which is forked of one that has imported the
            module and has never seen a task; without it a process takes one task after the other.
    """

    def __init__(
        self, module: str, *arguments: str, processes: int, longest: int = LINE, fresh: bool = False
    ) -> None:
        self._module = module
        self._command = (sys.executable, "-m", module, *arguments)
        self._forks = Forks(self._command, ONE_THREAD, longest) if fresh else None
        self._processes = processes
        self._longest = longest
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()
        self._new: set[Worker] = set()
        self._free = asyncio.Semaphore(processes)

    async def ask(self, task: bytes | Sequence[bytes], limit: float) -> bytes:
        r"""Return the answer to a line; both end with `\n`.

        Args:
            task: a line, or in pieces a line and what the module reads after it by itself.
            limit: seconds for the work, without the wait for a free worker and `STARTING`.

        Raises:
            WorkerCrashed: see there; the task may be what it died of.
            WorkerTooSlow: likewise.
            WorkerGone: nothing was done.
        """
        async with self.hold(task, limit) as held:
            return held.line

    @asynccontextmanager
    async def hold(self, task: bytes | Sequence[bytes], limit: float) -> AsyncIterator[Held]:
        """Hold the worker that has answered, for the length of a block that reads what follows.

        A worker of whom not everything was read is ended.

        Args:
            task: see `ask`.
            limit: seconds until the answer, without the wait for a free worker, and until each of
                the pieces that follow.

        Raises:
            WorkerCrashed, WorkerTooSlow, WorkerGone: as for `ask`.
        """
        async with self._free:
            worker, answer = await self._answered(task, limit)
            free = False
            try:
                held = Held(self._module, worker, answer, limit)
                yield held
                free = held.is_free
            finally:
                if free and self._forks is None:
                    self._idle.append(worker)
                else:
                    await self._end(worker)

    async def _answered(self, task: bytes | Sequence[bytes], limit: float) -> tuple[Worker, bytes]:
        """Return a worker and its answer; those that were ended while they waited cost nothing."""
        while True:
            waiting = self._waiting()
            worker = waiting or await self._start()
            try:
                return worker, await self._answer(worker, task, limit)
            except BaseException as error:
                await self._end(worker)
                if waiting is None or not isinstance(error, WorkerGone):
                    raise

    async def _answer(self, worker: Worker, task: bytes | Sequence[bytes], limit: float) -> bytes:
        try:
            async with asyncio.timeout(limit + STARTING if worker in self._new else limit):
                await _hand_over(worker, task)
            self._new.discard(worker)
            async with asyncio.timeout(limit):
                answer = await _stdout(worker).readline()
        except TimeoutError as error:
            log.warning("worker.too_slow", module=self._module, seconds=round(limit))
            raise WorkerTooSlow(f"{self._module} took too long") from error
        except (BrokenPipeError, ConnectionResetError) as error:
            await self._end(worker)
            log.warning("worker.gone", module=self._module, status=worker.returncode)
            raise WorkerGone(f"{self._module} was gone") from error
        except ValueError as error:  # asyncio's word for a line that is too long
            log.warning("worker.says_too_much", module=self._module)
            raise WorkerCrashed(f"{self._module} says too much") from error
        if not answer.endswith(b"\n"):
            await self._end(worker)
            log.warning("worker.crashed", module=self._module, status=worker.returncode)
            raise WorkerCrashed(f"{self._module} crashed")
        return answer

    def _waiting(self) -> Worker | None:
        """Return one that waits, if any; those that ended while they waited are left out."""
        while self._idle:
            worker = self._idle.pop()
            if _is_alive(worker):
                return worker
            self._all.discard(worker)
            self._new.discard(worker)
        return None

    async def warm(self, least: int) -> None:
        """Start so many of them now; the first task then need not wait for one."""
        while len(self._all) < min(least, self._processes):
            self._idle.append(await self._start())

    async def _start(self) -> Worker:
        worker: Worker
        if self._forks:
            worker = await self._forks.fork()
        else:
            worker = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=PIPE,
                stdout=PIPE,
                limit=self._longest,
                env={**os.environ, **ONE_THREAD},
            )
        self._all.add(worker)
        self._new.add(worker)
        return worker

    async def _end(self, worker: Worker) -> None:
        self._all.discard(worker)
        self._new.discard(worker)
        if worker.returncode is None:
            worker.kill()
        await asyncio.shield(worker.wait())

    async def close(self) -> None:
        """End all of them."""
        self._idle.clear()
        for worker in list(self._all):
            await self._end(worker)
        if self._forks:
            await self._forks.close()


@asynccontextmanager
async def open_workers(
    module: str, *arguments: str, processes: int, longest: int = LINE, fresh: bool = False
) -> AsyncIterator[Workers]:
    """Hold workers for the length of a block; see `Workers`."""
    workers = Workers(module, *arguments, processes=processes, longest=longest, fresh=fresh)
    try:
        yield workers
    finally:
        await workers.close()


def _is_alive(worker: Worker) -> bool:
    """Ask the kernel: asyncio learns of the end of a process later."""
    if worker.returncode is not None:
        return False
    try:
        return os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def _stdout(worker: Worker) -> asyncio.StreamReader:
    if worker.stdout is None:
        raise BrokenPipeError
    return worker.stdout


async def _hand_over(worker: Worker, task: bytes | Sequence[bytes]) -> None:
    """Give a worker a task, and wait until it has taken it.

    Raises:
        BrokenPipeError, ConnectionResetError: it has ended before it took the task.
    """
    if worker.stdin is None:
        raise BrokenPipeError
    # What it has said tells when it ended; RuntimeError is uvloop's word for a pipe that is closed.
    with suppress(BrokenPipeError, ConnectionResetError, RuntimeError):
        for piece in (task,) if isinstance(task, bytes) else task:
            worker.stdin.write(piece)
            await worker.stdin.drain()
    if await _stdout(worker).readline() != TAKEN:
        raise BrokenPipeError
