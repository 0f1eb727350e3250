"""Worker processes that answer a line with a line; a crash, a loop or greed costs one task.

The service asks `Workers`; a worker is a module whose `main` hands its work to `answer_tasks`.
"""

import asyncio
import logging
import os
import resource
import sys
import warnings
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from darkroom_common.errors import DarkroomError
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
LINE: Final = 4 << 20
"""Bytes of one answer, at most."""
_PIECE: Final = 1 << 16
_TAKEN: Final = b"\n"
"""What a worker says first of a task: one that ends without it has done nothing."""
_ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
"""A worker has one task: threads for each core, and an arena of 64 MiB for each thread, would only
take of its address space."""


class WorkerFault(DarkroomError):
    """A worker has not answered. It is gone; the next task gets another one."""


class WorkerCrashed(WorkerFault):
    """It ended while it worked at the task, or said more than it may."""


class WorkerTooSlow(WorkerFault):
    """It took longer than it may, and was ended."""


class WorkerGone(WorkerFault):
    """It ended before it took the task."""


class Held:
    """A worker that has answered a task, and may go on with bytes that it still makes.

    Attributes:
        line: its answer.
    """

    def __init__(self, module: str, worker: Process, line: bytes, limit: float) -> None:
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
        kept: that wait for the next task at most; None: all. The others end with their task.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        processes: int,
        longest: int = LINE,
        kept: int | None = None,
    ) -> None:
        self._module = module
        self._command = (sys.executable, "-m", module, *arguments)
        self._processes = processes
        self._longest = longest
        self._kept = processes if kept is None else kept
        self._idle: list[Process] = []
        self._all: set[Process] = set()
        self._free = asyncio.Semaphore(processes)

    async def ask(self, task: bytes | Sequence[bytes], limit: float) -> bytes:
        r"""Return the answer to a line; both end with `\n`.

        Args:
            task: a line, or in pieces a line and what the module reads after it by itself.
            limit: seconds for the work, without the wait for a free worker.

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
                if free and len(self._idle) < self._kept:
                    self._idle.append(worker)
                else:
                    await self._end(worker)

    async def _answered(self, task: bytes | Sequence[bytes], limit: float) -> tuple[Process, bytes]:
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

    async def _answer(self, worker: Process, task: bytes | Sequence[bytes], limit: float) -> bytes:
        try:
            async with asyncio.timeout(limit):
                answer = await _exchange(worker, task)
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
            *self._command,
            stdin=PIPE,
            stdout=PIPE,
            limit=self._longest,
            env={**os.environ, **_ONE_THREAD},
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
async def open_workers(
    module: str, *arguments: str, processes: int, longest: int = LINE, kept: int | None = None
) -> AsyncIterator[Workers]:
    """Hold workers for the length of a block; see `Workers`."""
    workers = Workers(module, *arguments, processes=processes, longest=longest, kept=kept)
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


def _stdout(worker: Process) -> asyncio.StreamReader:
    if worker.stdout is None:
        raise BrokenPipeError
    return worker.stdout


async def _exchange(worker: Process, task: bytes | Sequence[bytes]) -> bytes:
    """Return the line that a worker answers; nothing, or a part, when it has ended.

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
    if await _stdout(worker).readline() != _TAKEN:
        raise BrokenPipeError
    return await _stdout(worker).readline()


def answer_tasks(answer: Callable[[bytes], Iterable[bytes | memoryview]]) -> None:
    r"""Do tasks until the input ends; the first argument of the process is its limit of memory.

    Args:
        answer: does the task of a line, and returns its answer: a line with its `\n`, and what
            follows it; each piece is sent at once. It says by the line what has gone wrong; what it
            raises ends the process.
    """
    memory = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")  # pydicom's quote values, as do its logs
    logging.disable(logging.CRITICAL)
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(_TAKEN)
        sys.stdout.buffer.flush()
        for piece in answer(line):
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
