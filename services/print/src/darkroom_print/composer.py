"""Composes films in worker processes; a crash, a loop or greed costs that one film alone."""

import asyncio
import fcntl
import os
import shutil
import sys
import tempfile
import uuid
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from darkroom_common.errors import TransientError
from darkroom_common.telemetry.logs import get_logger
from darkroom_print.composition import (
    DRAWN,
    TASK,
    BoxTask,
    CannotCompose,
    Drawn,
    PageTask,
)
from darkroom_print.domain.bitmap import Film
from darkroom_print.domain.film import FilmPlan
from darkroom_print.domain.picture import Picture
from darkroom_print.sheet import arrange, open_film

log = get_logger(__name__)
MEMORY: Final = 2 << 30  # bytes of address space of a worker
LIMIT: Final = 60.0  # seconds for one image
LINE: Final = 4 << 20  # bytes of one answer
_PREFIX: Final = "film-"
MODULE: Final = "darkroom_print.composing_worker"


class ComposingFailed(TransientError):
    """The scratch directory or a worker failed, not an image."""


class Composers:
    """Worker processes, started when they are first needed."""

    def __init__(
        self,
        scratch: Path,
        *,
        processes: int = 2,
        memory: int = MEMORY,
        limit: float = LIMIT,
        module: str = MODULE,
    ) -> None:
        self.scratch = scratch
        self._limit = limit
        self._processes = processes
        self._command = (sys.executable, "-m", module, str(memory))
        self._idle: list[Process] = []
        self._all: set[Process] = set()
        self._free = asyncio.Semaphore(processes)

    @asynccontextmanager
    async def compose(self, plan: FilmPlan, pictures: Sequence[Picture]) -> AsyncIterator[Film]:
        """Hold a film ready for the length of a block.

        Its arrays are a file of the scratch directory, mapped into memory, and read only. Several
        films may be composed at once; their images wait for a free worker.

        Args:
            plan: the film.
            pictures: at most as many as it has boxes.

        Raises:
            CannotCompose: it cannot be done with these images, and never will.
            InvalidLayout: the film has no room for its boxes, or too few for the pictures.
            ComposingFailed: it could not be done now.
        """
        positions = arrange(plan, pictures)
        path = self.scratch / f"{uuid.uuid4().hex}.sheet"
        try:
            unprintable = await self._draw(plan, pictures, positions, path)
            try:
                film = await asyncio.to_thread(open_film, plan, path, positions)
            except OSError as error:
                raise ComposingFailed("the sheet cannot be read") from error
            yield replace(film, unprintable=unprintable)
        finally:
            path.unlink(missing_ok=True)

    async def _draw(
        self, plan: FilmPlan, pictures: Sequence[Picture], positions: tuple[int, ...], path: Path
    ) -> int:
        page = PageTask(plan, path, pictures[0] if pictures else None, positions)
        drawn = [await self._do(page, 0 if pictures else None)]
        tasks: list[asyncio.Task[Drawn]] = []
        try:
            async with asyncio.TaskGroup() as group:
                for index, (picture, position) in enumerate(zip(pictures, positions, strict=True)):
                    box = BoxTask(plan, path, picture, position)
                    tasks.append(group.create_task(self._do(box, index)))
        except BaseExceptionGroup as group_error:
            raise group_error.exceptions[0] from group_error
        drawn += [task.result() for task in tasks]
        return sum(one.unprintable for one in drawn)

    async def _do(self, task: BoxTask | PageTask, picture: int | None) -> Drawn:
        async with self._free:
            answer = await self._ask(task, picture)
        if answer.transient:
            raise ComposingFailed(answer.error)
        if answer.error:
            raise CannotCompose(answer.error, picture)
        return answer

    async def _ask(self, task: BoxTask | PageTask, picture: int | None) -> Drawn:
        worker = await self._worker()
        done = False
        try:
            async with asyncio.timeout(self._limit):
                line = await _exchange(worker, TASK.dump_json(task) + b"\n")
            if not line:
                log.warning("composing.crashed", status=await worker.wait())
                raise CannotCompose("drawing it crashed", picture)
            answer = DRAWN.validate_json(line)
            done = True
        except TimeoutError as error:
            log.warning("composing.too_long", seconds=self._limit)
            raise CannotCompose("drawing it took too long", picture) from error
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ComposingFailed("a worker was gone") from error
        else:
            return answer
        finally:
            if done:
                self._idle.append(worker)
            else:
                await self._end(worker)

    async def _worker(self) -> Process:
        """Return one that waits, or a new one; those that ended while they waited are left out."""
        while self._idle:
            worker = self._idle.pop()
            if worker.returncode is None:
                return worker
            self._all.discard(worker)
        return await self._start()

    async def warm(self) -> None:
        """Start the workers now; the first film then need not wait for them."""
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
        """End all workers."""
        self._idle.clear()
        for worker in list(self._all):
            await self._end(worker)


async def _exchange(worker: Process, line: bytes) -> bytes:
    """Return the line that a worker answers; nothing when it has ended."""
    if worker.stdin is None or worker.stdout is None:
        raise ComposingFailed("a worker has no pipes")
    worker.stdin.write(line)
    await worker.stdin.drain()
    return await worker.stdout.readline()


def _claim_directory(scratch: Path) -> tuple[Path, int]:
    """Return a directory of this process alone and the lock that says so.

    Those of processes that died are removed: they hold patients' images.
    """
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    for old in scratch.glob(f"{_PREFIX}*"):
        try:
            descriptor = os.open(old, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old, ignore_errors=True)
        except BlockingIOError:
            log.debug("scratch.in_use", directory=old.name)
        finally:
            os.close(descriptor)
    mine = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=scratch))
    lock = os.open(mine, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return mine, lock


@asynccontextmanager
async def open_composers(
    scratch: Path,
    *,
    processes: int = 2,
    memory: int = MEMORY,
    limit: float = LIMIT,
    module: str = MODULE,
) -> AsyncIterator[Composers]:
    """Open the workers, with a directory of their own below `scratch`."""
    mine, lock = await asyncio.to_thread(_claim_directory, scratch)
    composers = Composers(mine, processes=processes, memory=memory, limit=limit, module=module)
    try:
        yield composers
    finally:
        await composers.close()
        await asyncio.to_thread(shutil.rmtree, mine, ignore_errors=True)
        os.close(lock)
