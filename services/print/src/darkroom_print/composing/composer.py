"""Composes films in worker processes; a crash, a loop or greed costs that one film alone."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from darkroom_common.errors import TransientError
from darkroom_common.films.film import FilmPlan
from darkroom_common.scratch import open_scratch
from darkroom_common.workers.faults import WorkerCrashed, WorkerGone, WorkerTooSlow
from darkroom_common.workers.pool import Workers, open_workers
from darkroom_print.composing.bitmap import Film
from darkroom_print.composing.exchange import (
    DRAWN,
    TASK,
    BoxTask,
    CannotCompose,
    Drawn,
    PageTask,
    in_words,
)
from darkroom_print.composing.sheet import arrange, open_film
from darkroom_print.images.picture import Picture

MEMORY: Final = 2 << 30  # bytes of address space of a worker
LIMIT: Final = 60.0  # seconds for one image
_PREFIX: Final = "film-"
MODULE: Final = "darkroom_print.composing.worker"


class ComposingFailed(TransientError):
    """The scratch directory or a worker failed, not an image."""


class Composers:
    """Worker processes, started when they are first needed."""

    def __init__(self, scratch: Path, workers: Workers, *, limit: float = LIMIT) -> None:
        self.scratch = scratch
        self._workers = workers
        self._limit = limit

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
            page, boxes = await self._draw(plan, pictures, positions, path)
            try:
                film = await asyncio.to_thread(open_film, plan, path, positions)
            except OSError as error:
                raise ComposingFailed("the sheet cannot be read") from error
            unprintable = page.unprintable + sum(one.unprintable for one in boxes)
            yield replace(film, unprintable=unprintable, warnings=in_words(boxes))
        finally:
            path.unlink(missing_ok=True)

    async def _draw(
        self, plan: FilmPlan, pictures: Sequence[Picture], positions: tuple[int, ...], path: Path
    ) -> tuple[Drawn, list[Drawn]]:
        page = PageTask(plan, path, pictures[0] if pictures else None, positions)
        first = await self._do(page, 0 if pictures else None)
        tasks: list[asyncio.Task[Drawn]] = []
        try:
            async with asyncio.TaskGroup() as group:
                for index, (picture, position) in enumerate(zip(pictures, positions, strict=True)):
                    box = BoxTask(plan, path, picture, position)
                    tasks.append(group.create_task(self._do(box, index)))
        except BaseExceptionGroup as group_error:
            raise group_error.exceptions[0] from group_error
        return first, [task.result() for task in tasks]

    async def _do(self, task: BoxTask | PageTask, picture: int | None) -> Drawn:
        try:
            line = await self._workers.ask(TASK.dump_json(task) + b"\n", self._limit)
        except WorkerCrashed as error:
            raise CannotCompose("drawing it crashed", picture) from error
        except WorkerTooSlow as error:
            raise CannotCompose("drawing it took too long", picture) from error
        except WorkerGone as error:
            raise ComposingFailed("a worker was gone") from error
        answer = DRAWN.validate_json(line)
        if answer.transient:
            raise ComposingFailed(answer.error)
        if answer.error:
            raise CannotCompose(answer.error, picture)
        return answer

    async def warm(self, least: int) -> None:
        """Start so many workers now; the first film then need not wait for them."""
        await self._workers.warm(least)


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
    async with (
        open_scratch(scratch, prefix=_PREFIX) as mine,
        open_workers(module, str(memory), processes=processes) as workers,
    ):
        yield Composers(mine, workers, limit=limit)
