"""Converts objects in worker processes; a crash, a loop or greed costs that one object alone."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import orjson

from darkroom_common.errors import TransientError
from darkroom_common.pixels.faults import Unconvertible
from darkroom_common.scratch import open_scratch
from darkroom_common.transcoding.converted import Converted
from darkroom_common.workers.faults import WorkerCrashed, WorkerGone, WorkerTooSlow
from darkroom_common.workers.pool import Workers, open_workers

MEMORY: Final = 2 << 30  # bytes of address space of a worker
LIMIT: Final = 120.0  # seconds for one object, and
SLOWEST: Final = 1_000_000  # bytes of it in each further second
_PREFIX: Final = "conversion-"
MODULE: Final = "darkroom_common.transcoding.worker"
"""Converts; a service whose objects are changed, too, has one of its own."""


class ConversionFailed(TransientError):
    """The store or the scratch directory failed, not the object."""


class Converters:
    """Worker processes, started when they are first needed."""

    def __init__(self, scratch: Path, workers: Workers, *, limit: float = LIMIT) -> None:
        self.scratch = scratch
        self._workers = workers
        self._limit = limit

    async def convert(
        self, source: Path, wanted: Sequence[str], change: Sequence[Any] | None = None
    ) -> Converted:
        """Return a file of the scratch directory in the first wanted syntax that can be made.

        The caller removes the file. Several may be converted at once; the others wait.

        Args:
            source: a DICOM file.
            wanted: transfer syntaxes, the best first.
            change: what else the module makes of it, in words of its own; None: nothing.

        Raises:
            Unconvertible: it cannot be done with this object, and never will.
            ConversionFailed: it could not be done now.
        """
        target = self.scratch / f"{uuid.uuid4().hex}.dcm"
        task: dict[str, Any] = {
            "source": str(source),
            "target": str(target),
            "wanted": list(wanted),
            "change": None if change is None else [*change],
        }
        limit = await self._limit_of(source)
        try:
            return _converted(await self._ask(task, limit), target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    async def faults(self, file: Path) -> list[str]:
        """Return what makes a DICOM file no valid object: attributes and kinds, without values.

        Raises:
            Unconvertible: it cannot be judged.
            ConversionFailed: it could not be judged now.
        """
        task = {"validate": str(file), "change": None}
        answer = await self._ask(task, await self._limit_of(file))
        if answer.get("transient"):
            raise ConversionFailed(answer["error"])
        if "error" in answer:
            raise Unconvertible(answer["error"])
        found: list[str] = answer["faults"]
        return found

    async def _limit_of(self, file: Path) -> float:
        """Return the seconds that a worker may take for a file.

        Raises:
            ConversionFailed: it cannot be found.
        """
        try:
            size = (await asyncio.to_thread(file.stat)).st_size
        except OSError as error:
            raise ConversionFailed(f"file: {os.strerror(error.errno or 0)}") from error
        return self._limit + size / SLOWEST

    async def _ask(self, task: dict[str, Any], limit: float) -> dict[str, Any]:
        try:
            line = await self._workers.ask(orjson.dumps(task) + b"\n", limit)
        except WorkerCrashed as error:
            raise Unconvertible("its conversion crashed") from error
        except WorkerTooSlow as error:
            raise Unconvertible("its conversion took too long") from error
        except WorkerGone as error:
            raise ConversionFailed("a worker was gone") from error
        answer: dict[str, Any] = orjson.loads(line)
        return answer


def _converted(answer: dict[str, Any], target: Path) -> Converted:
    if answer.pop("transient", False):
        raise ConversionFailed(answer["error"])
    if "error" in answer:
        raise Unconvertible(answer["error"])
    left_out = tuple(answer.pop("left_out"))
    return Converted(path=target, left_out=left_out, **answer)


@asynccontextmanager
async def open_converters(
    scratch: Path,
    *,
    processes: int = 2,
    memory: int = MEMORY,
    limit: float = LIMIT,
    module: str = MODULE,
) -> AsyncIterator[Converters]:
    """Open the workers, with a directory of their own below `scratch`."""
    async with (
        open_scratch(scratch, prefix=_PREFIX) as mine,
        open_workers(module, str(memory), processes=processes) as workers,
    ):
        yield Converters(mine, workers, limit=limit)
