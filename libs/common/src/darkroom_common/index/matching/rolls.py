"""All matches of a query, looked up once and read page by page.

A page that is looked up by itself begins anew with every match: of 11,000 studies of one name, all
are looked at for each 500. A roll has the rows of all that may match, as far as tokens and columns
say it, in the order of pages; what has to be decrypted is compared when a page is read.
"""

import datetime as dt
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from darkroom_common.index.matching.patterns import certain_prefixes
from darkroom_common.index.matching.values import Wildcard
from darkroom_common.index.pages import Statement
from darkroom_common.index.query import Condition, Query
from darkroom_common.index.reader import PATIENT, SEARCH_SECONDS, IndexReader
from darkroom_common.index.results import all_found, columns_of
from darkroom_common.index.rows import Found, PatientRow, attributes_of
from darkroom_common.index.sql import Builder
from darkroom_common.postgres.listing import estimate

MOST: Final = 200_000
"""Rows of a roll: 24 bytes each at the level of instances."""
AT_ONCE: Final = 3_000
"""Rows of a roll that is there at once, although they are read from all over the disk."""
NEAR: Final = 1_000
"""Of the newest studies, looked through for a first page where a roll takes longer."""
_TELLING: Final = 3
"""Letters or digits at the beginning of a word that few studies have."""
Row = tuple[dt.date | dt.datetime | None, int]


@dataclass(frozen=True)
class Roll:
    """The rows of all that may match a query, in the order of pages.

    Attributes:
        rows: of studies (or patients), of their series and instances as far as the level has them.
    """

    query: Query
    rows: tuple["array[int]", ...]

    def __len__(self) -> int:
        return len(self.rows[0])


class _Candidates(Builder):
    """Builds statements that decrypt nothing but what a page shows."""

    def estimated(self) -> tuple[str, list[Any]]:
        """Return the statement with a row for all that may match."""
        plain, _, statement = self._parts()
        return statement.referred(self._form.matches(plain))

    def rolled(self, most: int) -> tuple[str, list[Any]]:
        """Return the statement with the rows of all that may match."""
        plain, _, statement = self._parts()
        plain += self._after(statement, self._form.newest, undated=True)
        return statement.referred(self._form.roll(plain, most + 1))

    def part(self, columns: str, bound: Sequence[object], roll: Roll, at: slice) -> Any:
        """Return the statement for those of a roll that match."""
        _, checked, statement = self._parts(bound)
        rows = [statement.bind(one[at].tolist(), "bigint[]") for one in roll.rows]
        return statement.referred(self._form.part(columns, checked, rows))

    def _parts(self, bound: Sequence[object] = ()) -> tuple[str, str, Statement]:
        """Return the conditions that decrypt nothing, those that do, and their statement."""
        statement = Statement(list(bound))
        first = self._first(statement)
        plain, checked = self._split(statement)
        return " AND ".join((first, *plain)), " AND ".join(checked) or "true", statement

    def _with_runs(self, statement: Statement, condition: Condition, plain: list[str]) -> None:
        match condition.match:
            case Wildcard(pattern) if any(
                len(one) >= _TELLING for one in certain_prefixes(pattern)
            ):
                pass  # the tokens of its words say as much
            case _:
                super()._with_runs(statement, condition, plain)


class RollReader(IndexReader):
    """Reads the index for whoever wants all matches, however many there are."""

    async def roll(self, query: Query) -> Roll | None:
        """Return the roll of a query, from its `after` on; None when it would be too long.

        Raises:
            SearchTooLong: the statement takes longer than `SEARCH_SECONDS`.
        """
        row = (await self._search(query, *self._candidates(query).rolled(MOST)))[0]
        rows = tuple(array("q", column or ()) for column in row)
        return None if len(rows[0]) > MOST else Roll(query, rows)

    async def expected(self, query: Query) -> int | None:
        """Return how long a roll is likely to be; None: it is of no use to this query.

        It is of none to those that no index answers, nor to those that `index.listing` does, which
        go through their matches in order and decrypt nothing but the answer.
        """
        candidates = self._candidates(query)
        tagged = any(one.field.tagged for one in query.conditions)
        if query.by_listing or query.is_open or tagged or not candidates.is_narrow:
            return None
        if query.is_pointed:
            return 0
        async with self._database.acquire() as db:
            return await estimate(db, *candidates.estimated(), seconds=SEARCH_SECONDS)

    async def first(self, query: Query) -> tuple[list[Found], Row | None]:
        """Return a page of studies from among the newest, and its last row; there may be none."""
        columns, bound = columns_of(query, self._passphrases)
        builder = self._candidates(query)
        rows = await self._search(query, *builder.page(columns, bound, within=NEAR))
        last = (rows[-1]["study_date"], rows[-1]["study_id"]) if rows else None
        return all_found(query, rows), last

    async def part(self, roll: Roll, start: int, count: int) -> list[Found]:
        """Return those that match, in order, of a part of a roll of studies and what they have."""
        rows = await self._part(roll, *columns_of(roll.query, self._passphrases), start, count)
        return all_found(roll.query, rows)

    async def patients_of(self, roll: Roll, start: int, count: int) -> list[PatientRow]:
        """Return those that match of a part of a roll of patients."""
        rows = await self._part(roll, PATIENT, [self._passphrases], start, count)
        return [PatientRow(attributes_of(row["phi"]), *row["related"]) for row in rows]

    async def _part(
        self, roll: Roll, columns: str, bound: Sequence[object], start: int, count: int
    ) -> list[asyncpg.Record]:
        at = slice(start, start + count)
        sql, values = self._candidates(roll.query).part(columns, bound, roll, at)
        return await self._search(roll.query, sql, values, alike=True)

    def _candidates(self, query: Query) -> _Candidates:
        return _Candidates(query, keys=self._keys, blind=self._blind)
