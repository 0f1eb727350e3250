"""The forms of a search's statements: which tables, in which order, and how a page is cut.

Studies are gone through by their date, or, when they are narrowed by what `index.listing` has, by
that. No form decrypts more for the answer than the rows of its page.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from darkroom_common.index.fields import Level
from darkroom_common.index.query import Query

COUNT_CAP: Final = 10_000
"""Matches are counted up to here; beyond it a total may be a guess."""
_FROM: Final = {
    Level.PATIENT: "index.patient s",  # under the name of the rows that hold a copy of it
    Level.STUDY: "index.study s",
    Level.SERIES: "index.study s JOIN index.series e ON e.study_id = s.id",
    Level.INSTANCE: (
        "index.study s JOIN index.series e ON e.study_id = s.id"
        " JOIN index.instance i ON i.series_id = e.id"
    ),
}
_LISTED: Final = "index.listing x JOIN index.study s ON s.id = x.study_id"
_LISTING: Final = "index.listing x"
_ORDER: Final = {  # study_date
    Level.PATIENT: "s.id DESC",
    Level.STUDY: "s.study_date DESC NULLS LAST, s.id DESC",
    Level.SERIES: "s.study_date DESC NULLS LAST, s.id DESC, e.series_number, e.id",
    Level.INSTANCE: (
        "s.study_date DESC NULLS LAST, s.id DESC, e.series_number, e.id, i.instance_number, i.id"
    ),
}
# listing_date, listing_of_status, listing_of_exam_status, listing_of_physician
_LISTED_ORDER: Final = "x.study_date DESC NULLS LAST, x.study_id DESC"
_BY_ORDER: Final = "x.ordered DESC NULLS LAST, x.study_id DESC"  # listing_ordered
_SHOWN_BY_ORDER: Final = "hit.ordered DESC NULLS LAST, s.id DESC"
_KEPT_BY_ORDER: Final = "ordered DESC NULLS LAST, study_id DESC"
_KEPT: Final = {
    Level.PATIENT: "s.id",
    Level.SERIES: "s.study_date, s.id, e.series_number",
    Level.INSTANCE: "s.study_date, s.id, e.series_number, i.instance_number",
}
_KEPT_ORDER: Final = {
    Level.PATIENT: "study_id DESC",
    Level.STUDY: "study_date DESC NULLS LAST, id DESC",
    Level.SERIES: "study_date DESC NULLS LAST, id DESC, series_number, series_id",
    Level.INSTANCE: (
        "study_date DESC NULLS LAST, id DESC, series_number, series_id, instance_number,"
        " instance_id"
    ),
}
_ROWS_OF: Final = {
    Level.PATIENT: ("study_id",),
    Level.STUDY: ("study_id",),
    Level.SERIES: ("study_id", "series_id"),
    Level.INSTANCE: ("study_id", "series_id", "instance_id"),
}
_IDS: Final = {
    Level.SERIES: "s.id AS study_id, e.id AS series_id",
    Level.INSTANCE: "s.id AS study_id, e.id AS series_id, i.id AS instance_id",
}
_SERIES: Final = " JOIN index.series e ON e.id = hit.series_id"
_JOINS: Final = {
    Level.PATIENT: "",
    Level.STUDY: "",
    Level.SERIES: _SERIES,
    Level.INSTANCE: f"{_SERIES} JOIN index.instance i ON i.id = hit.instance_id",
}
_WITHIN: Final = "(SELECT * FROM {table} WHERE {first} ORDER BY {order} LIMIT {within})"
_MATCHES: Final = "SELECT 1 FROM {} WHERE {}"
_ROWS: Final = "SELECT {} AS id FROM {} WHERE {} ORDER BY {}"
_HOP: Final = "SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT 1 OFFSET {}"
_PAGE: Final = (
    "SELECT {columns} FROM (SELECT {ids} FROM {of} WHERE {where} ORDER BY {order}"
    " {cut}) AS hit JOIN {top} ON s.id = hit.study_id{joins} ORDER BY {shown_order}"
)
# Without an order to begin with: the index that has the fewest is asked, and asked once.
_COUNTED: Final = (
    "WITH every AS MATERIALIZED (SELECT {ids}, {kept} FROM {of} WHERE {where} LIMIT {most})"
    " SELECT {columns}, (SELECT count(*) FROM every) AS matched FROM (SELECT * FROM every"
    " WHERE true{after} ORDER BY {kept_order} {cut}) AS hit"
    " JOIN index.study s ON s.id = hit.study_id{joins} ORDER BY {shown_order}"
)
_ROLL: Final = (
    "WITH every AS MATERIALIZED (SELECT {ids}, {kept} FROM {of} WHERE {where} LIMIT {most})"
    " SELECT {rows} FROM (SELECT * FROM every ORDER BY {kept_order}) AS listed"
)
_PART: Final = (  # by the keys of rows, in the order of pages
    "SELECT {columns} FROM unnest({rows}) AS hit ({names}) JOIN {top} ON s.id = hit.study_id{joins}"
    " WHERE {where} ORDER BY {shown_order}"
)
# Of each study and series no more than a page can need. The rung is a literal, so that one plan is
# good for any limit. listing_date, series_study_id_series_instance_uid_key, instance_series
_NEWEST: Final = (
    "SELECT {columns}, {matched} AS matched FROM (SELECT * FROM (SELECT {ids} FROM (SELECT"
    " x.study_id, x.study_date FROM index.listing x ORDER BY {listed} LIMIT {rung}) AS x{below}"
    " ORDER BY {order} LIMIT {rung}) AS first {cut}) AS hit"
    " JOIN index.study s ON s.id = hit.study_id{joins} ORDER BY {shown_order}"
)
_BELOW: Final = {
    Level.STUDY: "",
    Level.SERIES: " JOIN index.series e ON e.study_id = x.study_id",
    Level.INSTANCE: (
        " JOIN index.series e ON e.study_id = x.study_id CROSS JOIN LATERAL (SELECT o.id,"
        " o.instance_number FROM index.instance o WHERE o.series_id = e.id"
        " ORDER BY o.instance_number, o.id LIMIT {rung}) AS i"
    ),
}
_SIZE: Final = {Level.STUDY: "1", Level.SERIES: "series_count", Level.INSTANCE: "instance_count"}
_ALL: Final = (
    "(SELECT sum(size) FROM (SELECT {} AS size FROM index.study WHERE status <> 'deleted' LIMIT {})"
    " AS every)::bigint"
)
_PLACEHOLDER: Final = re.compile(r"\$(\d+)")
_RUNGS: Final = (32, 128, 1_024, 8_192)


def rung_of(query: Query) -> int | None:
    """Return in how many of the newest studies a page of an open query is; None: it is too far."""
    return next((rung for rung in _RUNGS if query.offset + query.limit <= rung), None)


def once(value: str, level: Level) -> str:
    """Return a value of a row `{0}` of a page, which is empty where it was that of the row before.

    Args:
        value: of SQL, bytes of the row `{0}`.
        level: of the page, whose order says which row is before.
    """
    same = f"lag({{0}}.id) OVER (ORDER BY {_ORDER[level]}) IS NOT DISTINCT FROM {{0}}.id"
    return f"CASE WHEN {same} THEN ''::bytea ELSE {value} END"


@dataclass
class Statement:
    """Values bound so far."""

    values: list[Any] = field(default_factory=list)

    def bind(self, value: object, kind: str) -> str:
        """Return the placeholder of a value, with its SQL type."""
        self.values.append(value)
        return f"${len(self.values)}::{kind}"

    def referred(self, sql: str) -> tuple[str, list[Any]]:
        """Return a text with the values that it refers to; PostgreSQL takes no others."""
        numbers = sorted({int(number) for number in _PLACEHOLDER.findall(sql)})
        places = {str(number): place for place, number in enumerate(numbers, 1)}
        text = _PLACEHOLDER.sub(lambda found: f"${places[found[1]]}", sql)
        return text, [self.values[number - 1] for number in numbers]


@dataclass(frozen=True)
class Form:
    """The forms of the statements of one query; conditions come as text with bind parameters."""

    query: Query

    @property
    def kept(self) -> tuple[str, str]:
        """Study date, or order time, and row of studies in `counted`."""
        return ("ordered", "study_id") if self.query.by_order else ("study_date", "id")

    @property
    def newest(self) -> tuple[str, str]:
        """The columns of study date, or order time, and row that studies are gone through by."""
        if self.query.by_order:
            return "x.ordered", "x.study_id"
        return ("x.study_date", "x.study_id") if self.query.by_listing else ("s.study_date", "s.id")

    @property
    def _ids(self) -> str:
        if self.query.by_order:
            return "x.study_id, x.ordered"
        return _IDS.get(self.query.level, f"{self.newest[1]} AS study_id")

    @property
    def _kept(self) -> str:
        if self.query.by_order:
            return "x.study_date"
        day, row = self.newest
        return _KEPT.get(self.query.level, f"{day}, {row} AS id")

    @property
    def _order(self) -> str:
        if self.query.by_order:
            return _BY_ORDER
        return _LISTED_ORDER if self.query.by_listing else _ORDER[self.query.level]

    @property
    def _shown_order(self) -> str:
        return _SHOWN_BY_ORDER if self.query.by_order else _ORDER[self.query.level]

    def page(self, columns: str, first: str, where: str, cut: str, *, within: int | None) -> str:
        """Return a page of results, in order.

        Args:
            columns: of the answer.
            first: the condition on what is gone through.
            where: the other ones.
            cut: LIMIT and OFFSET.
            within: only among so many of the first; None is all.
        """
        level = self.query.level
        return _PAGE.format(
            columns=columns,
            ids=self._ids,
            of=self._from(first, within),
            where=where if within else f"{first} AND {where}",
            order=self._order,
            cut=cut,
            top=_FROM[level if level is Level.PATIENT else Level.STUDY],
            joins=_JOINS[level],
            shown_order=self._shown_order,
        )

    def newest_page(self, columns: str, cut: str, rung: int, *, counted: bool) -> str:
        """Return a page of all there is; its rows have the number of all, as far as `COUNT_CAP`."""
        level = self.query.level
        order = _ORDER[level].replace("s.study_date", "x.study_date").replace("s.id", "x.study_id")
        return _NEWEST.format(
            columns=columns,
            matched=_ALL.format(_SIZE[level], COUNT_CAP + 1) if counted else "NULL::bigint",
            ids=_IDS.get(level, "s.id AS study_id").replace("s.id", "x.study_id"),
            listed=_LISTED_ORDER,
            below=_BELOW[level].format(rung=rung),
            order=order,
            rung=rung,
            cut=cut,
            joins=_JOINS[level],
            shown_order=_ORDER[level],
        )

    def counted(self, columns: str, where: str, after: str, cut: str, *, most: int) -> str:
        """Return a page of results whose rows also have the number of all, `matched`."""
        level = self.query.level
        return _COUNTED.format(
            columns=columns,
            ids=self._ids,
            kept=self._kept,
            of=self._from(),
            where=where,
            most=most + 1,
            after=after,
            kept_order=_KEPT_BY_ORDER if self.query.by_order else _KEPT_ORDER[level],
            cut=cut,
            joins=_JOINS[level],
            shown_order=self._shown_order,
        )

    def roll(self, where: str, most: int) -> str:
        """Return the rows of all that there is, at most so many, in the order of pages."""
        level = self.query.level
        return _ROLL.format(
            rows=", ".join(f"array_agg({name})" for name in _ROWS_OF[level]),
            ids=self._ids,
            kept=self._kept,
            of=self._from(),
            where=where,
            most=most,
            kept_order=_KEPT_BY_ORDER if self.query.by_order else _KEPT_ORDER[level],
        )

    def part(self, columns: str, where: str, rows: Sequence[str]) -> str:
        """Return those of some rows, arrays of SQL, that are not deleted and hold a condition."""
        level = self.query.level
        patient = level is Level.PATIENT
        return _PART.format(
            columns=columns,
            rows=", ".join(rows),
            names=", ".join(_ROWS_OF[level]),
            top=_FROM[level if patient else Level.STUDY],
            joins=_JOINS[level],
            where=where if patient else f"s.status <> 'deleted' AND {where}",
            shown_order=self._shown_order,
        )

    def hop(self, where: str, rows: int) -> str:
        """Return study date, or order time, and row of the last of so many results."""
        day, row = self.newest
        return _HOP.format(f"{day}, {row}", self._from(), where, self._order, rows - 1)

    def matches(self, where: str) -> str:
        """Return a row of every result."""
        return _MATCHES.format(self._from(), where)

    def rows(self, where: str) -> str:
        """Return the rows of all studies, in order."""
        return _ROWS.format(self.newest[1], self._from(), where, self._order)

    def _from(self, first: str = "", within: int | None = None) -> str:
        of = _FROM[self.query.level]
        if self.query.by_listing:
            of = _LISTING if self.query.is_listed else _LISTED
        if within is None:
            return of
        table = "index.listing x" if self.query.by_listing else "index.study s"
        some = _WITHIN.format(table=table, first=first, order=self._order, within=within)
        return of.replace(table, f"{some} {table[-1]}", 1)
