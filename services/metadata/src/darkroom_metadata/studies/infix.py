"""Fills in the runs of characters by which searches find a study (docs/adr/0023).

Nobody who receives or edits waits for it: a trigger marks what is new or changed, and a search
looks at what is marked.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Final

import asyncpg
import orjson

from darkroom_common.clock import monotonic
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.index.matching.runs import runs_of_study
from darkroom_common.postgres.phi import BlindIndex, PhiKeys
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
BATCH: Final = 100
_LOOK_SECONDS: Final = 5.0
_DUE: Final = (  # infix_due
    "SELECT study_id FROM index.infix WHERE due AND study_id > $1"
    " ORDER BY study_id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED"
)
_TEXTS: Final = (  # study_pkey; what nobody can decrypt is looked at by every search
    "SELECT s.id, pgp_sym_decrypt(s.phi, ($2::text[])[s.phi_key])::json ->> 'n' AS texts"
    " FROM index.study s WHERE s.id = ANY($1::bigint[])"
    " AND coalesce(($2::text[])[s.phi_key], '') <> ''"
)
_FILL: Final = "UPDATE index.infix SET due = false, runs = $2 WHERE study_id = $1"


@dataclass
class InfixRuns:
    """Fills in what is marked. Any number of services may."""

    database: Database
    keys: PhiKeys
    blind: BlindIndex
    _unreadable: set[int] = field(default_factory=set)
    """Rows that were told of: they are come by again and again."""

    async def run(self) -> None:
        """Fill in for ever, at most half of the time; cancel to stop."""
        last = 0
        while True:
            began = monotonic()
            try:
                found = await self.fill(after=last)
            except DependencyUnavailable as error:
                log.warning("infix.waits", reason=str(error))
                found = []
            last = found[-1] if found else 0
            took = monotonic() - began
            await asyncio.sleep(took if len(found) == BATCH else _LOOK_SECONDS)

    async def fill(self, *, after: int = 0) -> list[int]:
        """Fill in up to 100 studies; return their rows, in order.

        Who changes one of them meanwhile waits, and marks it again.
        """
        async with self.database.transaction() as db:
            due = [row[0] for row in await db.fetch(_DUE, after, BATCH)]
            texts = await self._texts(db, due)
            filled = [
                (number, runs_of_study(self.blind, orjson.loads(texts[number])))
                for number in due
                if number in texts
            ]
            await db.executemany(_FILL, filled)
        return due

    async def _texts(self, db: Connection, due: list[int]) -> dict[int, str]:
        """Return the texts of studies by their rows, without those that nobody can decrypt."""
        try:
            async with db.transaction():  # a savepoint
                return {row[0]: row[1] for row in await db.fetch(_TEXTS, due, self.keys.by_id())}
        except asyncpg.ExternalRoutineInvocationError:
            if len(due) == 1:  # every search looks at it, and whoever reads it is told
                if due[0] not in self._unreadable:
                    log.warning("infix.unreadable", study_row=due[0])
                self._unreadable.update(due)
                return {}
        return {
            number: text for one in due for number, text in (await self._texts(db, [one])).items()
        }
