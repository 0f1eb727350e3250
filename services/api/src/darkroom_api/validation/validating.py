"""Has objects validated by workers: nothing of them is parsed in this process."""

import asyncio
from typing import Any, Final

import orjson

from darkroom_api.http.errors import ApiError, Code, invalid, study_not_found
from darkroom_api.validation import worker
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.objects.store import StoreUnavailable
from darkroom_common.workers.faults import WorkerCrashed, WorkerGone, WorkerTooSlow
from darkroom_common.workers.pool import STARTING, Workers

MODULE: Final = worker.__name__
MEMORY: Final = 448 << 20
"""Bytes of address space of a worker."""
LIMIT: Final = 10.0
"""Seconds for one object."""
PATIENCE: Final = LIMIT + STARTING
"""Seconds until it is looked at, with the start of a worker."""
PROCESSES: Final = 1
LONGEST: Final = 4 << 20
"""Bytes of an answer."""


class Validating:
    """Validates objects.

    Args:
        workers: of `worker`.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self.room = asyncio.Semaphore(PROCESSES)
        """To be held while the body of a request is: it is kept in memory."""

    async def stored(self, object_key: str) -> dict[str, Any]:
        """Return what is said of an object of the store.

        Raises:
            ApiError, DependencyUnavailable: see `_ask`.
        """
        return await self._ask([orjson.dumps({"key": object_key}) + b"\n"])

    async def uploaded(self, body: list[bytes], boundary: bytes | None) -> dict[str, Any]:
        """Return what is said of an object that was uploaded, by itself or in a form.

        Raises:
            ApiError, DependencyUnavailable: see `_ask`.
        """
        size = sum(map(len, body))
        said = None if boundary is None else boundary.decode("latin-1")
        task = orjson.dumps({"size": size, "boundary": said}) + b"\n"
        return await self._ask([task, *body])

    async def _ask(self, task: list[bytes]) -> dict[str, Any]:
        """Return the report of a task.

        Raises:
            ApiError: 404, the store has no such object; 422, it cannot be read.
            StoreUnavailable, DependencyUnavailable: the store, or a worker, is away.
        """
        try:
            line = await self._workers.ask(task, LIMIT)
        except (WorkerCrashed, WorkerTooSlow) as error:
            raise _unfit("The object takes more to validate than is allowed.") from error
        except WorkerGone as error:
            raise DependencyUnavailable("a worker was gone") from error
        report: dict[str, Any] = orjson.loads(line)
        match report.get("error"):
            case None:
                return report
            case worker.MISSING:
                raise study_not_found()
            case worker.STORE:
                raise StoreUnavailable("the store is away")
            case worker.NO_FILE:
                raise invalid("body.file", "The form has no file of this name.")
            case worker.TOO_MUCH:
                raise _unfit("The object takes more to validate than is allowed.")
        raise _unfit("This is no DICOM object that can be read.")


def _unfit(detail: str) -> ApiError:
    return ApiError(422, Code.INVALID_REQUEST, detail)
