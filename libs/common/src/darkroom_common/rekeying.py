"""`python -m darkroom_<service> rekey`: brings what it keeps under the current key (MET-02).

Readers take the key of each value by its id, so everything is read and written all the while. A
batch is a transaction of its own: an interrupted run has lost nothing, and the next one goes on
with the rest.

Exit code 0: no value is left under another key; 2: it could not run, or not to its end.
"""

import argparse
import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Final

from pydantic import SecretStr

from darkroom_common.clock import monotonic
from darkroom_common.errors import ConfigurationError, TransientError
from darkroom_common.output import say
from darkroom_common.postgres.migrate import require_compatible
from darkroom_common.postgres.phi import PGP_OPTIONS, PhiKeys
from darkroom_common.postgres.pool import Connection, Database, is_clash, open_database
from darkroom_common.postgres.statement import statement
from darkroom_common.seal import Seal, Unsealable
from darkroom_common.service import Command
from darkroom_common.settings import Settings
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
BATCH: Final = 500
PASSES: Final = 10
_CLASH_SECONDS: Final = 0.05
_COUNT: Final = "SELECT count(*) FROM {schema}.{table} WHERE "
_ROWS: Final = "SELECT {row} AS id FROM {schema}.{table} WHERE "
# primary key; whoever has a row locked is given the time of a pass
_FIRST: Final = " ORDER BY {row} LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED"
_AFTER: Final = " AND {row} > $3"
_ENCRYPT: Final = (
    "UPDATE {schema}.{table} SET {key} = $3, {column} ="
    " CASE WHEN length({column}) = 0 THEN {column} ELSE pgp_sym_encrypt("
    " pgp_sym_decrypt({column}, ($1::text[])[{key}]), $2, $4) END"
    " WHERE {row} = ANY($5)"
)
_NUMBERS: Final = "SELECT DISTINCT split_part(one, '.', 2)::int FROM {schema}.{table}, "
_READ: Final = "SELECT {row} AS id, {column} AS sealed FROM {schema}.{table} WHERE {row} = ANY($1)"
_RESEAL: Final = "UPDATE {schema}.{table} SET {column} = $2 WHERE {row} = $1"

Tell = Callable[[dict[str, Any]], None]


class PhiSettings(Settings):
    """What a service with such columns is given."""

    phi_keys: SecretStr


class StillWritten(TransientError):
    """Someone goes on writing under an old key."""


@dataclass(frozen=True)
class Encrypted:
    """A column that pgcrypto has encrypted, with the id of the key in another one.

    Attributes:
        row: the primary key.
        due: which rows have another key than $1.
        known: the ids of keys that rows have.
    """

    table: str
    column: str = "phi"
    key: str = "phi_key"
    row: str = "id"
    due: ClassVar[str] = "{key} <> $1"
    known: ClassVar[str] = "SELECT DISTINCT {key} FROM {schema}.{table} WHERE {key} IS NOT NULL"

    @property
    def names(self) -> dict[str, str]:
        """What its statements name."""
        return {"table": self.table, "column": self.column, "row": self.row, "key": self.key}

    def now(self, keys: PhiKeys) -> object:
        """Return $1 of `due`."""
        return keys.current

    async def renew(self, db: Connection, sql: Callable[[str], str], rows: "Rows") -> int:
        """Encrypt locked rows under the current key; return how many cannot be read."""
        keys = rows.keys
        await db.execute(
            sql(_ENCRYPT), keys.by_id(), keys.current_key, keys.current, PGP_OPTIONS, rows.ids
        )
        return 0


@dataclass(frozen=True)
class Sealed:
    """A column of text that `Seal` has sealed for a purpose, or with `many` of such texts."""

    table: str
    column: str
    purpose: str
    row: str = "id"
    many: bool = False

    @property
    def _values(self) -> str:
        return "unnest({column}) AS one" if self.many else "unnest(ARRAY[{column}]) AS one"

    @property
    def due(self) -> str:
        """See `Encrypted`."""
        another = " WHERE one <> '' AND split_part(one, '.', 2) <> $1)"
        return f"EXISTS (SELECT FROM {self._values}{another}"

    @property
    def known(self) -> str:
        """See `Encrypted`."""
        return _NUMBERS + self._values + " WHERE one <> ''"

    @property
    def names(self) -> dict[str, str]:
        """See `Encrypted`."""
        return {"table": self.table, "column": self.column, "row": self.row}

    def now(self, keys: PhiKeys) -> object:
        """See `Encrypted`."""
        return str(keys.current)

    async def renew(self, db: Connection, sql: Callable[[str], str], rows: "Rows") -> int:
        """Seal locked rows under the current key; return how many cannot be opened."""
        seal, damaged = Seal(rows.keys), 0
        for row in await db.fetch(sql(_READ), rows.ids):
            values = row["sealed"] if self.many else [row["sealed"]]
            try:
                found = [self._again(seal, one) for one in values]
            except Unsealable as error:
                name = str(row["id"])
                log.error("rekey.unsealable", table=self.table, row=name, reason=str(error))
                damaged += 1
            else:
                await db.execute(sql(_RESEAL), row["id"], found if self.many else found[0])
        return damaged

    def _again(self, seal: Seal, text: str) -> str:
        if not text:
            return ""
        return seal.seal(seal.open(text, purpose=self.purpose), purpose=self.purpose)


Column = Encrypted | Sealed


@dataclass(frozen=True)
class Rows:
    """Rows that are locked, by their primary key, and the keys."""

    ids: list[Any]
    keys: PhiKeys


@dataclass(frozen=True)
class Rekeying:
    """Encrypts and seals again, column by column.

    Args:
        database: of the role that writes the schema.
        schema: whose columns they are.
        columns: all of it that PHI_KEYS opens.
        keys: all that values are under, and the current one.
        rows_per_second: at most so many; 0 is no limit.
        tell: is told of each batch.
    """

    database: Database
    schema: str
    columns: Sequence[Column]
    keys: PhiKeys
    rows_per_second: int
    tell: Tell
    _damaged: dict[Column, int] = field(default_factory=dict)

    async def run(self) -> int:
        """Go through all until no value has another key; return how many rows were rewritten.

        Raises:
            ConfigurationError: values have keys that are not among `keys`.
            Unsealable: some cannot be opened; all others have the current key.
            StillWritten: a service writes under an old key and does not stop.
            DependencyUnavailable: the database is away; run it again to go on.
        """
        await self._require_known()
        rewritten = 0
        for _ in range(PASSES):
            left = {column: await self.left(column) for column in self.columns}
            self._damaged.clear()
            if not any(left.values()):
                self.tell({"event": "summary", "rewritten": rewritten})
                return rewritten
            for column, count in left.items():
                rewritten += await self._column(column, count)
            if self._damaged and sum(left.values()) == sum(self._damaged.values()):
                tables = ", ".join(column.table for column in self._damaged)
                raise Unsealable(f"values cannot be opened in {tables}; the log names the rows")
        raise StillWritten("rows under an old key go on coming: give every service the new one")

    def _sql(self, column: Column) -> Callable[[str], str]:
        return partial(statement, schema=self.schema, **column.names)

    async def left(self, column: Column) -> int:
        """Return how many rows have another than the current key in a column."""
        sql = self._sql(column)(_COUNT + column.due)
        async with self.database.acquire() as db:
            count: int = await db.fetchval(sql, column.now(self.keys))
        return count

    async def _require_known(self) -> None:
        unknown: set[int] = set()
        for column in self.columns:
            async with self.database.acquire() as db:
                rows = await db.fetch(self._sql(column)(column.known))
            unknown |= {row[0] for row in rows} - set(self.keys.keys)
        if unknown:
            listed = ", ".join(map(str, sorted(unknown)))
            raise ConfigurationError(f"PHI_KEYS lacks keys that rows were encrypted with: {listed}")

    async def _column(self, column: Column, total: int) -> int:
        done, after = 0, None
        while total:
            began = monotonic()
            count, after = await self._batch(column, after)
            if not count:
                break
            done += count
            told = {"table": column.table, "column": column.column, "done": done}
            self.tell({"event": "progress", **told, "of": max(total, done)})
            if self.rows_per_second:
                spent = monotonic() - began
                await asyncio.sleep(max(0.0, count / self.rows_per_second - spent))
        return done - self._damaged.get(column, 0)

    async def _batch(self, column: Column, after: Any) -> tuple[int, Any]:
        """Rewrite the next rows behind a key; return how many, and the last one's key."""
        sql, now = self._sql(column), column.now(self.keys)
        begin, values = (_AFTER, [now, BATCH, after]) if after is not None else ("", [now, BATCH])
        while True:
            try:
                async with self.database.transaction() as db:
                    found = await db.fetch(sql(_ROWS + column.due + begin + _FIRST), *values)
                    ids = [row["id"] for row in found]
                    damaged = await column.renew(db, sql, Rows(ids, self.keys))
            except Exception as error:
                if not is_clash(error):
                    raise
                await asyncio.sleep(_CLASH_SECONDS)
            else:
                if damaged:
                    self._damaged[column] = self._damaged.get(column, 0) + damaged
                return len(ids), ids[-1] if ids else after


def rekey_command(service: str, schema: str, columns: Sequence[Column]) -> Command:
    """Return the command of a service that rewrites these columns of its schema."""

    async def rekey(settings: PhiSettings, arguments: Sequence[str]) -> int:
        parser = argparse.ArgumentParser(prog=f"python -m darkroom_{service} rekey")
        parser.add_argument("--json", action="store_true", help="one JSON object a line")
        parser.add_argument(
            "--rows-per-second",
            type=int,
            default=0,
            metavar="N",
            help="0, the default, is no limit",
        )
        given = parser.parse_args(arguments)
        keys = PhiKeys.parse(settings.phi_keys.get_secret_value())
        url = settings.postgres_url.get_secret_value()
        async with open_database(url, service=f"{service}-rekey", size=2) as database:
            await require_compatible(database, schema=schema, package=f"darkroom_{service}")
            tell = _as_json if given.json else _as_text
            await Rekeying(database, schema, columns, keys, given.rows_per_second, tell).run()
        return 0

    return Command("rekey", rekey)


def _as_json(line: dict[str, Any]) -> None:
    say(json.dumps(line))


def _as_text(line: dict[str, Any]) -> None:
    if line["event"] == "summary":
        text = f"{line['rewritten']} rows were rewritten; nothing is left under another key"
    else:
        text = f"{line['table']}.{line['column']}: {line['done']} of {line['of']}"
    say(text)
