"""Makes the files of exports: each by a process of its own, again when one dies, once in the end.

A file is durable before its row says so: an attempt that finds it there has nothing left to do but
to say so. What is over, failed or deleted is removed here, too.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

import orjson
from pydantic import SecretStr

from darkroom_api.exports import worker
from darkroom_api.exports.repository import (
    LIFETIME,
    PHASES,
    Export,
    Exports,
    forget,
    one_to_remove,
    removed,
)
from darkroom_api.exports.values import encoded
from darkroom_api.mail.recipients import address_of
from darkroom_api.mail.repository import Mail
from darkroom_common.clock import SYSTEM_CLOCK, Clock
from darkroom_common.errors import DependencyUnavailable, PermanentError
from darkroom_common.jobs.attempt import Ending
from darkroom_common.jobs.lease import Claims, Decide
from darkroom_common.jobs.runner import Runner
from darkroom_common.objects.sealed import SealedObject
from darkroom_common.objects.store import ObjectMissing, ObjectStore
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.seal import Seal, Unsealable
from darkroom_common.specs.destinations import Backoff
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.workers.faults import WorkerCrashed, WorkerGone, WorkerTooSlow
from darkroom_common.workers.pool import Workers

log = get_logger(__name__)
MODULE: Final = worker.__name__
MEMORY: Final = 48 << 20
"""Bytes that a process which makes one has for itself, however many studies are in it: measured."""
MOST_MEMORY: Final = 192 << 20
"""Bytes of its address space: what it shares with the others is in it, and what stops a fault."""
PERSON: Final = "person"
"""The format of all that there is of one person."""
FILTERS: Final = "export filters"
"""What the filters are sealed for."""
SWEEP_SECONDS: Final = 30.0
_SILENCE: Final = worker.STATEMENT_SECONDS + 30
"""Seconds between two lines of a process, at most."""
_BACKOFF: Final = Backoff(initial_seconds=2, multiplier=3, ceiling_seconds=60, max_attempts=3)


def key_of(job: str) -> str:
    """Return where the file of an export is."""
    return f"{job[:2]}/{job}"


def purpose_of(job: str) -> str:
    """Return what the file of an export is sealed for."""
    return f"export {job}"


Select = Callable[[Any], Awaitable[tuple[str, list[Any]]]]
"""Makes of filters the statement with the row ids of the studies that they leave, and its values.

Raises:
    PermanentError: they cannot be searched by.
"""


class _Stopped(Exception):
    """The work is to end before its time."""


@dataclass(frozen=True)
class Files:
    """Where the files of exports are, and the keys that they are sealed with."""

    store: ObjectStore
    url: str
    keys: PhiKeys

    async def open(self, job: str) -> SealedObject:
        """Return the file of an export.

        Raises:
            ObjectMissing, StoreUnavailable, Unsealable: see `SealedObject.open`.
        """
        return await SealedObject.open(
            self.store, key_of(job), keys=self.keys, purpose=purpose_of(job)
        )

    async def remove(self, job: str, now: datetime) -> None:
        """Remove the file of an export that nobody makes any more, if there is one."""
        await self.store.remove(key_of(job), untouched_since=now + LIFETIME)  # however clocks go


@dataclass
class Making:
    """Makes files.

    Attributes:
        select: see there.
        postgres_url, phi_keys: for the processes, which get them by their standard input.
        at_once: files; further ones wait.
        store_url: where the objects are that one of a person holds.
    """

    claims: Claims[Export]
    exports: Exports
    workers: Workers
    files: Files
    select: Select
    seal: Seal
    postgres_url: SecretStr
    phi_keys: SecretStr
    at_once: int
    mail: Mail
    store_url: str
    clock: Clock = SYSTEM_CLOCK

    def __post_init__(self) -> None:
        """Make what runs the jobs."""
        self.runner = Runner(self.claims, self.attempt, at_once=self.at_once, each=self.at_once)
        self._deleted = asyncio.Event()

    @property
    def database(self) -> Database:
        """Where the jobs are."""
        return self.claims.database

    async def attempt(self, job: Export) -> Ending | Decide:
        """Make the file of an export, unless it is there already."""
        job.backoff = _BACKOFF
        try:
            made = await self._made(job)
            if made is None:
                made = await self._make(job)
        except _Stopped:
            return self.exports.kind.given_back()
        except Unsealable:
            return Ending(PHASES.failed, "What was asked for cannot be opened with PHI_KEYS.")
        except PermanentError as error:
            return Ending(PHASES.failed, str(error))
        except WorkerGone as error:
            raise DependencyUnavailable("a process was gone") from error
        except (WorkerCrashed, WorkerTooSlow):
            reason = "Making the file took more than it may."
            return self.exports.kind.again(job, _BACKOFF, reason, self.runner.chance())
        if isinstance(made, Ending):
            return made
        return partial(self._finished, job, made)

    async def _finished(self, job: Export, size: int, db: Connection) -> Ending:
        """End an export well, and have its owner know."""
        expires_at, rows = self.clock.now() + LIFETIME, job.total or 0
        address = await address_of(db, job.row["user_id"])
        if address:
            values = {
                "job": job.id,
                "rows": rows,
                "format": job.row["format"],
                "expires": f"{expires_at:%Y-%m-%d %H:%M}",
            }
            await self.mail.put(db, "export_ready", address, values)
        columns = {"size": size, "done": rows, "total": rows, "expires_at": expires_at}
        return Ending(PHASES.ended_well[0], columns=columns)

    async def _made(self, job: Export) -> int | Ending | None:
        """Return the bytes of a file that an earlier attempt has finished; None for none."""
        try:
            found = await self.files.open(job.id)
        except ObjectMissing:
            return None
        job.total = job.row["total"]
        return found.size

    async def _make(self, job: Export) -> int | Ending:
        row = job.row
        task = {
            **await self._asked(row["format"], self.seal.open(row["filters"], purpose=FILTERS)),
            "format": row["format"],
            "columns": row["columns"],
            "made_at": self.clock.now().isoformat(),
            "made_for": row["requested_by"],
            "key": key_of(job.id),
            "purpose": purpose_of(job.id),
            "store_url": self.files.url,
            "postgres_url": self.postgres_url.get_secret_value(),
            "phi_keys": self.phi_keys.get_secret_value(),
        }
        async with self.workers.hold(orjson.dumps(task) + b"\n", _SILENCE) as held:
            while True:
                said: dict[str, Any] = orjson.loads(held.line)
                match said:
                    case {"size": size}:
                        return int(size)
                    case {"error": worker.AWAY, "reason": reason}:
                        raise DependencyUnavailable(reason)
                    case {"error": _, "reason": reason}:
                        return Ending(PHASES.failed, reason)
                if "total" in said:
                    job.total = said["total"]
                    await self.claims.renew()  # whoever finds the file made knows how many it has
                job.done = said.get("done", job.done)
                if job.stopped:
                    raise _Stopped
                await held.follow()

    async def _asked(self, made_as: str, filters: Any) -> dict[str, Any]:
        """Return what a process is told of what goes into a file."""
        if made_as == PERSON:
            return {"patient_key": filters["patient_key"], "objects_url": self.store_url}
        sql, values = await self.select(filters)
        return {"sql": sql, "values": encoded(values)}

    def acted(self, job: str) -> None:
        """Take it that somebody has deleted an export."""
        self.runner.acted(job)
        self._deleted.set()

    async def sweep(self) -> None:
        """Remove what is over, again and again, until cancelled."""
        while True:
            try:
                while await self.remove_one():
                    pass
                async with self.database.transaction() as db:
                    await forget(db)
            except DependencyUnavailable as error:
                log.warning("exports.kept", reason=str(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_SECONDS):
                    await self._deleted.wait()
            self._deleted.clear()

    async def remove_one(self) -> bool:
        """Remove the file of one export that is over; tell if there was any."""
        async with self.database.transaction() as db:
            row = await one_to_remove(db)
            if row is None:
                return False
            await self.files.remove(row["id"], self.clock.now())
            await removed(db, row["id"])
        log.info("export.removed", job=row["id"], state=row["state"])
        return True
