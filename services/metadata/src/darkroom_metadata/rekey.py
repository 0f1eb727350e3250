"""`python -m darkroom_metadata rekey`: brings every row under the current key (MET-02).

Readers take each row's key by its id, so the index is read and written all the while. A batch is a
transaction of its own: an interrupted run has lost nothing, and the next one goes on with the rest.

Exit code 0: no row is left under another key; 2: it could not run, or not to its end.
"""

import argparse
import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from darkroom_common.clock import monotonic
from darkroom_common.errors import ConfigurationError, TransientError
from darkroom_common.output import say
from darkroom_common.postgres.migrate import require_compatible
from darkroom_common.postgres.phi import PGP_OPTIONS, PhiKeys
from darkroom_common.postgres.pool import Database, is_clash, open_database
from darkroom_common.postgres.statement import statement
from darkroom_metadata.settings import MetadataSettings

COLUMNS: Final[Mapping[str, str]] = {
    "patient": "phi",
    "study": "phi",
    "series": "phi",
    "instance": "header",
    "conflict": "header",
    "study_edit": "phi",
    "study_change": "phi",
}
"""The encrypted column of each table."""
BATCH: Final = 500
PASSES: Final = 10
_CLASH_SECONDS: Final = 0.05

# primary key; whoever has a row locked is given the time of a pass
_NEXT: Final = (
    "SELECT id FROM index.{table} WHERE id > $1 AND phi_key <> $2"
    " ORDER BY id LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED"
)
_ENCRYPT: Final = (
    "UPDATE index.{table} SET phi_key = $3, {column} ="
    " CASE WHEN length({column}) = 0 THEN {column} ELSE pgp_sym_encrypt("
    " pgp_sym_decrypt({column}, ($1::text[])[phi_key]), $2, $4) END"
    " WHERE id = ANY($5::bigint[])"
)

Tell = Callable[[dict[str, Any]], None]


class StillWritten(TransientError):
    """Someone goes on writing under an old key."""


@dataclass(frozen=True)
class Rekeying:
    """Encrypts again, table by table.

    Args:
        database: of the role that owns the index.
        keys: all that rows were encrypted with, and the current one.
        rows_per_second: at most so many; 0 is no limit.
        tell: is told of each batch.
    """

    database: Database
    keys: PhiKeys
    rows_per_second: int
    tell: Tell

    async def run(self) -> int:
        """Go through all tables until no row has another key; return how many were rewritten.

        Raises:
            ConfigurationError: rows have keys that are not among `keys`.
            StillWritten: a service writes under an old key and does not stop.
            DependencyUnavailable: the database is away; run it again to go on.
        """
        await self._require_known()
        rewritten = 0
        for _ in range(PASSES):
            left = {table: await self.left(table) for table in COLUMNS}
            if not any(left.values()):
                self.tell({"event": "summary", "rewritten": rewritten})
                return rewritten
            for table, count in left.items():
                rewritten += await self._table(table, count)
        raise StillWritten("rows under an old key go on coming: give every service the new one")

    async def left(self, table: str) -> int:
        """Return how many rows of a table have another than the current key."""
        async with self.database.acquire() as db:
            count: int = await db.fetchval(
                statement("SELECT count(*) FROM index.{table} WHERE phi_key <> $1", table=table),
                self.keys.current,
            )
        return count

    async def _require_known(self) -> None:
        unknown: set[int] = set()
        for table in COLUMNS:
            async with self.database.acquire() as db:
                rows = await db.fetch(
                    statement(
                        "SELECT DISTINCT phi_key FROM index.{table} WHERE phi_key IS NOT NULL",
                        table=table,
                    )
                )
            unknown |= {row["phi_key"] for row in rows} - set(self.keys.keys)
        if unknown:
            listed = ", ".join(map(str, sorted(unknown)))
            raise ConfigurationError(f"PHI_KEYS lacks keys that rows were encrypted with: {listed}")

    async def _table(self, table: str, total: int) -> int:
        done, after = 0, 0
        while True:
            began = monotonic()
            count, after = await self._batch(table, after)
            if not count:
                return done
            done += count
            self.tell({"event": "progress", "table": table, "done": done, "of": max(total, done)})
            if self.rows_per_second:
                spent = monotonic() - began
                await asyncio.sleep(max(0.0, count / self.rows_per_second - spent))

    async def _batch(self, table: str, after: int) -> tuple[int, int]:
        """Rewrite the next rows behind an id; return how many, and the last id."""
        column = COLUMNS[table]
        while True:
            try:
                async with self.database.transaction() as db:
                    ids = await db.fetch(
                        statement(_NEXT, table=table), after, self.keys.current, BATCH
                    )
                    numbers = [row["id"] for row in ids]
                    await db.execute(
                        statement(_ENCRYPT, table=table, column=column),
                        self.keys.by_id(),
                        self.keys.current_key,
                        self.keys.current,
                        PGP_OPTIONS,
                        numbers,
                    )
            except Exception as error:
                if not is_clash(error):
                    raise
                await asyncio.sleep(_CLASH_SECONDS)
            else:
                return len(numbers), numbers[-1] if numbers else after


async def rekey(settings: MetadataSettings, arguments: Sequence[str]) -> int:
    """Be the command; return its exit code.

    Raises:
        DarkroomError: it could not run to its end.
    """
    parser = argparse.ArgumentParser(prog="python -m darkroom_metadata rekey")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--rows-per-second", type=int, default=0, metavar="N", help="0, the default, is no limit"
    )
    given = parser.parse_args(arguments)
    keys = PhiKeys.parse(settings.phi_keys.get_secret_value())
    url = settings.postgres_url.get_secret_value()
    async with open_database(url, service="metadata-rekey", size=2) as database:
        await require_compatible(database, schema="index", package="darkroom_metadata")
        tell = _as_json if given.json else _as_text
        await Rekeying(database, keys, given.rows_per_second, tell).run()
    return 0


def _as_json(line: dict[str, Any]) -> None:
    say(json.dumps(line))


def _as_text(line: dict[str, Any]) -> None:
    if line["event"] == "summary":
        text = f"{line['rewritten']} rows were encrypted again; no row is left under another key"
    else:
        text = f"{line['table']}: {line['done']} of {line['of']}"
    say(text)
