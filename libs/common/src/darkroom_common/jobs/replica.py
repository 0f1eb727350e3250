"""The name of a replica: what it had in hand when it died, it takes back when it is there again.

A replica is named by its host, which in Kubernetes is the pod, and a number: several processes of a
service on one host are several replicas. A process holds its name by a session lock of PostgreSQL,
so that no second one has it while the first one lives. Leases are owned by the name and a word that
is new with each start: a process whose name was taken by mistake owns nothing any more, and what it
writes about a job is refused as that of any other (see `Claims`).
"""

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from darkroom_common.errors import DependencyUnavailable
from darkroom_common.jobs.lease import POLL_SECONDS
from darkroom_common.jobs.table import JobTable
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
_MOST: Final = 100
"""Replicas of a service on one host."""
_HOLD: Final = "SELECT pg_try_advisory_lock(hashtextextended('replica ' || $1, 0))"


@asynccontextmanager
async def replica(
    database: Database, schema: str, tables: Sequence[JobTable[Any]], *, host: str = ""
) -> AsyncIterator[str]:
    """Hold the name of a replica for the length of a block, and give its old jobs free.

    Args:
        database: of the service; one connection is kept.
        schema: of the service.
        tables: of the kinds of jobs that it runs.
        host: empty for the name of this one.

    Yields:
        The owner of this process's leases.

    Raises:
        DependencyUnavailable: the database is away.
    """
    named: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    holding = asyncio.create_task(_hold(database, schema, host or socket.gethostname(), named))
    try:
        name = await named
        owner = f"{name}/{uuid.uuid4().hex}"
        async with database.transaction() as db:
            taken = {
                table.kind.name: await table.take_back(db, f"{name}/", owner) for table in tables
            }
        log.info("replica.named", replica=name, **taken)
        yield owner
    finally:
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)


async def _hold(database: Database, schema: str, host: str, named: "asyncio.Future[str]") -> None:
    """Hold a name, also when the connection to the database is lost and comes again."""
    while True:
        lost = asyncio.Event()
        try:
            async with database.session() as db:
                db.add_termination_listener(lambda _, said=lost: said.set())
                if named.done():
                    await db.fetchval(_HOLD, f"{schema} {named.result()}")
                else:
                    named.set_result(await _name(db, schema, host))
                await lost.wait()
        except DependencyUnavailable as error:
            if not named.done():
                named.set_exception(error)
                return
            log.warning("replica.waits", replica=named.result(), reason=str(error))
        await asyncio.sleep(POLL_SECONDS)


async def _name(db: Connection, schema: str, host: str) -> str:
    """Return the first name that nobody has, and have it."""
    for number in range(_MOST):
        name = f"{host}#{number}"
        if await db.fetchval(_HOLD, f"{schema} {name}"):
            return name
    return f"{host}#{uuid.uuid4().hex}"  # one that is nobody's afterwards
