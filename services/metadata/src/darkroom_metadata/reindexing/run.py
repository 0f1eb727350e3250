"""A run over many studies: its scope, how far it has come, and that it is alone."""

from dataclasses import dataclass
from typing import Final, Self

import asyncpg

from darkroom_common.dicom.heads import DEFLATED, EXPLICIT_BIG
from darkroom_common.errors import TransientError
from darkroom_common.postgres.pool import Connection
from darkroom_metadata.reindexing import statements as sql
from darkroom_metadata.reindexing.study import Progress

AFFECTED: Final = tuple(sorted({EXPLICIT_BIG, *DEFLATED}))
"""Transfer syntaxes whose objects an earlier release has indexed with one attribute."""
_LOCK: Final = 0x72656978  # "reix"
_BEGIN: Final = (
    "INSERT INTO index.reindex_run (scope) VALUES ($1) ON CONFLICT (scope)"
    " WHERE state = 'running' DO UPDATE SET scope = excluded.scope RETURNING *"
)
_SAVE: Final = (
    "UPDATE index.reindex_run SET cursor = $2, studies = studies + 1, instances = instances + $3,"
    " changed = changed + $4, skipped = skipped + $5 WHERE id = $1 RETURNING *"
)
_END: Final = (
    "UPDATE index.reindex_run SET state = 'finished', finished = clock_timestamp()"
    " WHERE id = $1 RETURNING *"
)


class Busy(TransientError):
    """Another run is at work."""


@dataclass(frozen=True)
class Scope:
    """What is to be read again: one study, every study, or those with an object of `AFFECTED`."""

    study: str | None = None
    every: bool = False

    @property
    def name(self) -> str:
        """What a run is found by, to go on with it."""
        if self.study is not None:
            return f"study {self.study}"
        return "all" if self.every else "affected"

    @property
    def syntaxes(self) -> list[str] | None:
        """Of which a study must have an object."""
        return None if self.every or self.study is not None else list(AFFECTED)


@dataclass(frozen=True)
class Run:
    """A run as it stands."""

    id: int
    cursor: int
    studies: int
    instances: int
    changed: int
    skipped: int

    @classmethod
    def of(cls, row: asyncpg.Record) -> Self:
        """Return the run of a row."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})

    @classmethod
    async def begin(cls, db: Connection, scope: Scope) -> Self:
        """Return the unfinished run of a scope, or a new one; the session holds the lock.

        Raises:
            Busy: another session has it.
        """
        if not await db.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
            raise Busy("objects are being read again already")
        return cls.of(await _row(db, _BEGIN, scope.name))

    async def left(self, db: Connection, scope: Scope) -> tuple[int, int]:
        """Return how many studies and instances are still to do."""
        row = await _row(db, sql.LEFT, self.cursor, scope.study, scope.syntaxes)
        return row[0], row[1]

    async def next(self, db: Connection, scope: Scope) -> Progress | None:
        """Return the next study, or None after the last."""
        row = await db.fetchrow(sql.NEXT, self.cursor, scope.study, scope.syntaxes)
        return None if row is None else Progress(*row)

    async def save(self, db: Connection, done: Progress) -> Self:
        """Keep that a study is done, in the transaction that has finished it."""
        skipped = len(done.missing)
        numbers = done.instances, done.changed, skipped
        return self.of(await _row(db, _SAVE, self.id, done.id, *numbers))

    async def end(self, db: Connection) -> Self:
        """Finish the run."""
        return self.of(await _row(db, _END, self.id))


async def _row(db: Connection, statement: str, *values: object) -> asyncpg.Record:
    row = await db.fetchrow(statement, *values)
    if row is None:
        raise Busy("the run was removed while it was at work")
    return row
