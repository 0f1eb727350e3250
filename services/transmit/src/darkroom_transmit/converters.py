"""Converts objects in worker processes; a crash, a loop or greed costs that one object alone."""

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
from pathlib import Path
from typing import Any, Final

import orjson

from darkroom_common.errors import TransientError
from darkroom_common.telemetry.logs import get_logger
from darkroom_transmit.conversion import Converted, Profile, Unconvertible

log = get_logger(__name__)
MEMORY: Final = 2 << 30  # bytes of address space of a worker
LIMIT: Final = 120.0  # seconds for one object, and
SLOWEST: Final = 1_000_000  # bytes of it in each further second
_PREFIX: Final = "conversion-"
MODULE: Final = "darkroom_transmit.conversion_worker"


class ConversionFailed(TransientError):
    """The scratch directory failed, not the object."""


class Converters:
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
        self._command = (sys.executable, "-m", module, str(memory))
        self._idle: list[Process] = []
        self._all: set[Process] = set()
        self._free = asyncio.Semaphore(processes)

    async def convert(
        self, source: Path, wanted: Sequence[str], profile: Profile | None = None
    ) -> Converted:
        """Return a file of the scratch directory in the first wanted syntax that can be made.

        The caller removes the file. Several may be converted at once; the others wait.

        Args:
            source: a DICOM file.
            wanted: transfer syntaxes, the best first.
            profile: how it is de-identified; None leaves it.

        Raises:
            Unconvertible: it cannot be done with this object, and never will.
            ConversionFailed: it could not be done now.
        """
        target = self.scratch / f"{uuid.uuid4().hex}.dcm"
        task = {
            "source": str(source),
            "target": str(target),
            "wanted": list(wanted),
            "profile": None if profile is None else [*profile],
        }
        limit = self._limit + (await asyncio.to_thread(source.stat)).st_size / SLOWEST
        try:
            async with self._free:
                return _converted(await self._ask(task, limit), target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    async def _ask(self, task: dict[str, Any], limit: float) -> dict[str, Any]:
        worker = self._idle.pop() if self._idle else await self._start()
        done = False
        try:
            async with asyncio.timeout(limit):
                line = await _exchange(worker, orjson.dumps(task) + b"\n")
            if not line:
                log.warning("conversion.crashed", status=await worker.wait())
                raise Unconvertible("its conversion crashed")
            done = True
            answer: dict[str, Any] = orjson.loads(line)
        except TimeoutError as error:
            log.warning("conversion.too_long", seconds=round(limit))
            raise Unconvertible("its conversion took too long") from error
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ConversionFailed("a worker was gone") from error
        else:
            return answer
        finally:
            if done:
                self._idle.append(worker)
            else:
                await self._end(worker)

    async def _start(self) -> Process:
        worker = await asyncio.create_subprocess_exec(*self._command, stdin=PIPE, stdout=PIPE)
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


def _converted(answer: dict[str, Any], target: Path) -> Converted:
    if answer.pop("transient", False):
        raise ConversionFailed(answer["error"])
    if "error" in answer:
        raise Unconvertible(answer["error"])
    return Converted(path=target, **answer)


async def _exchange(worker: Process, line: bytes) -> bytes:
    """Return the line that a worker answers; nothing when it has ended."""
    if worker.stdin is None or worker.stdout is None:
        raise ConversionFailed("a worker has no pipes")
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
async def open_converters(scratch: Path, **options: Any) -> AsyncIterator[Converters]:
    """Open the workers, with a directory of their own below `scratch`."""
    mine, lock = await asyncio.to_thread(_claim_directory, scratch)
    converters = Converters(mine, **options)
    try:
        yield converters
    finally:
        await converters.close()
        await asyncio.to_thread(shutil.rmtree, mine, ignore_errors=True)
        os.close(lock)
