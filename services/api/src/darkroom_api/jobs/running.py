"""Runs the jobs that the API does itself, under a name of this replica."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from darkroom_common.errors import DependencyUnavailable
from darkroom_common.jobs.lease import Claims
from darkroom_common.jobs.replica import replica
from darkroom_common.postgres.pool import Database
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
RETRY_SECONDS: Final = 1.0


async def run_jobs(
    database: Database,
    claims: Sequence[Claims[Any]],
    works: Sequence[Callable[[], Awaitable[None]]],
    *,
    host: str,
) -> None:
    """Run jobs until cancelled, as soon as the database is there.

    What an earlier process of this replica had in hand, these go on with at once.

    Args:
        database: where the name is held.
        claims: of all kinds, which get their owner here.
        works: what runs them; each returns when all that it began has ended.
        host: see `replica`.
    """
    async with AsyncExitStack() as stack:
        owner = ""
        while not owner:
            named = replica(database, "api", [one.table for one in claims], host=host)
            try:
                owner = await stack.enter_async_context(named)
            except DependencyUnavailable as error:
                log.warning("jobs.wait", reason=str(error))
                await asyncio.sleep(RETRY_SECONDS)
        for one in claims:
            one.owner = owner
        async with asyncio.TaskGroup() as tasks:
            for work in works:
                tasks.create_task(_run(work))


async def _run(work: Callable[[], Awaitable[None]]) -> None:
    await work()
