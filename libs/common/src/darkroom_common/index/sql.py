"""SQL for a `Query`: text with bind parameters only, never a value.

Blind tokens narrow the candidates on the GIN indexes `study_blind` and `series_blind`. A token of
a whole value (or of a word prefix of up to `PREFIX_LIMIT` characters) proves equality by itself;
wildcards, longer words and ranges are checked on the decrypted `n` of the candidates.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from darkroom_common.index.fields import Field, Kept, Level
from darkroom_common.index.matching.values import (
    AllOf,
    Empty,
    Fuzzy,
    Match,
    Number,
    OneOf,
    Range,
    Wildcard,
)
from darkroom_common.index.query import FREE_TEXT, Condition, Query
from darkroom_common.postgres.phi import PREFIX_LIMIT, BlindIndex, PhiKeys

COUNT_CAP: Final = 10_000
"""Matches are counted up to here; beyond it a total is not told."""

_ALIAS: Final = {Level.PATIENT: "s", Level.STUDY: "s", Level.SERIES: "e", Level.INSTANCE: "i"}
_FROM: Final = {
    Level.PATIENT: "index.patient s",  # under the name of the rows that hold a copy of it
    Level.STUDY: "index.study s",
    Level.SERIES: "index.study s JOIN index.series e ON e.study_id = s.id",
    Level.INSTANCE: (
        "index.study s JOIN index.series e ON e.study_id = s.id"
        " JOIN index.instance i ON i.series_id = e.id"
    ),
}
_ORDER: Final = {
    Level.PATIENT: "s.id DESC",
    Level.STUDY: "s.study_date DESC NULLS LAST, s.id DESC",
    Level.SERIES: "s.study_date DESC NULLS LAST, s.id DESC, e.series_number, e.id",
    Level.INSTANCE: (
        "s.study_date DESC NULLS LAST, s.id DESC, e.series_number, e.id, i.instance_number, i.id"
    ),
}
# Dates whose time sits in the column beside them: two ranges are one range of moments.
_MOMENTS: Final = {
    "StudyDate": "StudyTime",
    "PerformedProcedureStepStartDate": "PerformedProcedureStepStartTime",
}
_WITH_STUDIES: Final = (  # study_patient
    "EXISTS (SELECT FROM index.study o WHERE o.patient_id = s.id AND o.status <> 'deleted')"
)
_IN_TAGGED: Final = "{} IN (SELECT {} FROM {} WHERE {})"
_TAGGED: Final = "index.tagged t"
_TAGGED_OF_STUDY: Final = "index.tagged t JOIN index.series q ON q.id = t.series_id"
_MATCHES: Final = "SELECT 1 FROM {} WHERE {}"
_IDS: Final = "SELECT s.id FROM index.study s WHERE {} ORDER BY {}"
_COUNT: Final = "SELECT count(*) FROM ({} LIMIT {}) AS counted"
_ASKED_WORDS: Final = 3
"""Of a free text, the longest: a letter is in the name of every fourth patient."""
_LITERAL: Final = re.compile(r"[\\%_]")


@dataclass
class Statement:
    """Values bound so far."""

    values: list[Any] = field(default_factory=list)

    def bind(self, value: object, kind: str) -> str:
        """Return the placeholder of a value, with its SQL type."""
        self.values.append(value)
        return f"${len(self.values)}::{kind}"


def like_pattern(pattern: str) -> str:
    """Return a DICOM wildcard pattern as one for LIKE."""
    escaped = _LITERAL.sub(lambda found: "\\" + found.group(), pattern)
    return escaped.replace("*", "%").replace("?", "_")


def name_patterns(condition: Condition, pattern: str) -> list[str]:
    """Return the LIKE patterns of a wildcard; `DOE^*` finds a name without a given part too."""
    found = [like_pattern(pattern)]
    if condition.field.vr == "PN" and pattern.endswith("^*") and len(pattern.rstrip("^*")) > 0:
        found.append(like_pattern(pattern.rstrip("^*")))
    return found


def certain_prefixes(pattern: str) -> list[str]:
    """Return the word prefixes that every match of a normalised wildcard pattern has.

    A run of letters and digits counts when something else than a wildcard, or nothing, stands
    before it: in `doe^jo*n` these are `doe` and `jo`, in `*smith` none.
    """
    found: list[str] = []
    current: str | None = ""
    for character in pattern:
        if character in "*?":
            if current:
                found.append(current)
            current = None  # what follows may be the middle of a word
        elif character.isalnum():
            if current is not None:
                current += character
        else:
            if current:
                found.append(current)
            current = ""
    if current:
        found.append(current)
    return found


class Builder:
    """Builds the statements of one query."""

    def __init__(self, query: Query, *, keys: PhiKeys, blind: BlindIndex) -> None:
        self.query = query
        self._keys = keys.by_id()
        self._blind = blind

    def page(self, columns: str, bound: Sequence[object] = ()) -> tuple[str, list[Any]]:
        """Return the statement for one page of results, in a stable order.

        Args:
            columns: of the rows s, e and i, as far as the level has them.
            bound: the values that `columns` refers to as $1 and so on.
        """
        statement = Statement(list(bound))
        where = self._where(statement) + self._after(statement)
        limit = statement.bind(self.query.limit, "bigint")
        offset = statement.bind(self.query.offset, "bigint")
        level = self.query.level
        top = _FROM[level if level is Level.PATIENT else Level.STUDY]
        sql = (
            # The page is cut before anything of it is decrypted for the answer.
            f"SELECT {columns} FROM (SELECT {_ids(level)} FROM {_FROM[level]} WHERE {where}"  # noqa: S608 - our own names
            f" ORDER BY {_ORDER[level]} LIMIT {limit} OFFSET {offset}) AS hit"
            f" JOIN {top} ON s.id = hit.study_id{_joins(level)}"
            f" ORDER BY {_ORDER[level]}"
        )
        return sql, statement.values

    def count(self) -> tuple[str, list[Any]]:
        """Return the statement that counts up to `COUNT_CAP` + 1 matches."""
        every, values = self.matches()
        return _COUNT.format(every, COUNT_CAP + 1), values

    def matches(self) -> tuple[str, list[Any]]:
        """Return the statement with a row for every match."""
        statement = Statement()
        where = self._where(statement)
        return _MATCHES.format(_FROM[self.query.level], where), statement.values

    def ids(self) -> tuple[str, list[Any]]:
        """Return the statement with the row ids of studies, all of them, in the order of pages."""
        statement = Statement()
        where = self._where(statement)
        return _IDS.format(where, _ORDER[Level.STUDY]), statement.values

    def _where(self, statement: Statement) -> str:
        query = self.query
        plain: list[str] = []
        checked: list[str] = []  # last: these decrypt
        if query.statuses:
            plain.append(f"s.status = ANY({statement.bind(list(query.statuses), 'text[]')})")
        plain.append(_WITH_STUDIES if query.level is Level.PATIENT else "s.status <> 'deleted'")
        if query.study_uid is not None:
            plain.append(f"s.study_instance_uid = {statement.bind(query.study_uid, 'text')}")
        if query.series_uid is not None:
            plain.append(f"e.series_instance_uid = {statement.bind(query.series_uid, 'text')}")
        conditions = list(query.conditions)
        if query.combined:
            plain += self._moments(statement, conditions)
        for condition in conditions:
            if condition.field.kept is Kept.SEARCHABLE:
                self._encrypted(statement, condition, plain, checked)
            else:
                plain.append(_plain(statement, condition))
        for place, word in enumerate(sorted(query.words, key=len, reverse=True)):
            self._free(statement, word, plain, checked, asks=place < _ASKED_WORDS)
        for one in query.also:
            plain.append(one.text.format(*(statement.bind(*value) for value in one.values)))
        return " AND ".join(plain + checked)

    def _free(
        self, statement: Statement, word: str, plain: list[str], checked: list[str], *, asks: bool
    ) -> None:
        """Look for a word in any of the fields of free text; some `ask` the index of tokens."""
        tokens = [self._blind.prefix(of.keyword, word) for of in FREE_TEXT]
        column = "s.blind" if asks else "(s.blind || '{}'::bytea[])"
        plain.append(f"{column} && {statement.bind(tokens, 'bytea[]')}")
        if len(word) > PREFIX_LIMIT:
            needle = statement.bind(word, "text")
            texts = [f"strpos({self._text(statement, of)}, {needle}) > 0" for of in FREE_TEXT]
            checked.append(f"({' OR '.join(texts)})")

    def _after(self, statement: Statement) -> str:
        """Return the condition on what follows the row that the page before has ended with."""
        if self.query.after is None:
            return ""
        date, row = self.query.after
        older = f"s.id < {statement.bind(row, 'bigint')}"
        if date is None:
            return f" AND s.study_date IS NULL AND {older}"
        day = statement.bind(date, "date")
        # The first part uses the index on study_date.
        return (
            f" AND (s.study_date < {day} OR s.study_date = {day} AND {older}"
            " OR s.study_date IS NULL)"
        )

    @staticmethod
    def _moments(statement: Statement, conditions: list[Condition]) -> list[str]:
        """Take pairs of a date range and a time range out and return them combined."""
        found: list[str] = []
        by_name = {condition.field.keyword: condition for condition in conditions}
        for date_name, time_name in _MOMENTS.items():
            date, time = by_name.get(date_name), by_name.get(time_name)
            if date is None or time is None:
                continue
            days, hours = date.match, time.match
            if not isinstance(days, Range) or not isinstance(hours, Range):
                continue
            if days.low == days.high:  # one day: both ranges say the same as one of moments
                continue
            conditions.remove(date)
            conditions.remove(time)
            day = f"{_ALIAS[date.field.level]}.{date.field.column}"
            hour = f"{_ALIAS[time.field.level]}.{time.field.column}"
            bounds = ((days.low, hours.low, ">=", "00:00"), (days.high, hours.high, "<=", "24:00"))
            for at_day, at_hour, sign, open_hour in bounds:
                if at_day is None:
                    continue
                bound_day = statement.bind(at_day, "date")
                moment = (
                    f"({bound_day} + time '{open_hour}')"
                    if at_hour is None
                    else f"({bound_day} + {statement.bind(at_hour, 'time')})"
                )
                # The date alone uses the index on study_date.
                found.append(f"{day} {sign} {bound_day} AND {day} + {hour} {sign} {moment}")
        return found

    def _encrypted(
        self, statement: Statement, condition: Condition, plain: list[str], checked: list[str]
    ) -> None:
        if condition.field.tagged:
            plain.append(self._tagged(statement, condition))
            return
        self._compared(statement, condition, plain, checked)

    def _tagged(self, statement: Statement, condition: Condition) -> str:
        """Return the condition on a tag that people have named; see `index.tags`."""
        of = condition.field
        if self.query.level is Level.STUDY:
            row, column, source = "s.id", "q.study_id", _TAGGED_OF_STUDY
        elif of.level is Level.INSTANCE:
            row, column, source = "i.id", "t.instance_id", _TAGGED
        else:
            row, column, source = "e.id", "t.series_id", _TAGGED
        if isinstance(condition.match, Empty):
            said = f"{self._text(statement, of)} IS NOT NULL"
            return f"NOT EXISTS (SELECT FROM {source} WHERE {column} = {row} AND {said})"
        plain: list[str] = []
        checked: list[str] = []
        self._compared(statement, condition, plain, checked)
        return _IN_TAGGED.format(row, column, source, " AND ".join(plain + checked))

    def _compared(
        self, statement: Statement, condition: Condition, plain: list[str], checked: list[str]
    ) -> None:
        alias, name = _alias(condition.field), condition.field.keyword
        match condition.match:
            case OneOf(values):
                tokens = [self._blind.token(name, "value", value) for value in values]
                plain.append(f"{alias}.blind && {statement.bind(tokens, 'bytea[]')}")
            case AllOf(values):
                tokens = [self._blind.token(name, "value", value) for value in values]
                plain.append(f"{alias}.blind @> {statement.bind(tokens, 'bytea[]')}")
            case Empty():
                checked.append(f"{self._text(statement, condition.field)} IS NULL")
            case Fuzzy(words):
                self._narrow(statement, condition.field, words, plain)
                for word in words:
                    if len(word) > PREFIX_LIMIT:
                        needle = statement.bind(word, "text")
                        text = self._text(statement, condition.field)
                        checked.append(f"strpos({text}, {needle}) > 0")
            case Wildcard(pattern):
                self._narrow(statement, condition.field, certain_prefixes(pattern), plain)
                patterns = statement.bind(name_patterns(condition, pattern), "text[]")
                text = self._text(statement, condition.field)
                checked.append(
                    "EXISTS (SELECT FROM unnest(string_to_array("
                    f"{text}, E'\\\\')) AS term WHERE term LIKE ANY ({patterns}))"
                )
            case Range(low, high):
                checked.append(self._text_range(statement, condition.field, low, high))
            case Number():
                raise TypeError("no encrypted field holds numbers")

    def _narrow(
        self, statement: Statement, of: Field, prefixes: Sequence[str], plain: list[str]
    ) -> None:
        tokens = [self._blind.prefix(of.keyword, prefix) for prefix in prefixes]
        if tokens:
            plain.append(f"{_alias(of)}.blind @> {statement.bind(tokens, 'bytea[]')}")

    def _text(self, statement: Statement, of: Field) -> str:
        """Return the expression of a field's decrypted search text."""
        alias = _alias(of)
        keys = statement.bind(self._keys, "text[]")
        name = statement.bind(of.keyword, "text")
        # A key that is missing is an error, not a row that does not match.
        key = f"coalesce(({keys})[{alias}.phi_key], '')"
        return f"(pgp_sym_decrypt({alias}.phi, {key})::jsonb -> 'n' ->> {name})"

    def _text_range(self, statement: Statement, of: Field, low: object, high: object) -> str:
        text = self._text(statement, of)
        term = "term"
        if of.vr == "TM":  # stored times have any precision
            term = "rpad(replace(term, ':', ''), greatest(6, length(term)), '0')"
        parts = [
            f'{term} COLLATE "C" {sign} {statement.bind(bound, "text")}'
            for sign, bound in ((">=", low), ("<=", high))
            if bound is not None
        ]
        return (
            f"EXISTS (SELECT FROM unnest(string_to_array({text}, E'\\\\')) AS term"
            f" WHERE {' AND '.join(parts)})"
        )


def _alias(of: Field) -> str:
    return "t" if of.tagged else _ALIAS[of.level]


def _plain(statement: Statement, condition: Condition) -> str:  # noqa: PLR0911 - one per kind
    """Return the condition on a plain column."""
    of: Field = condition.field
    column = f"{_ALIAS[of.level]}.{of.column}"
    if of.kept is Kept.COMPUTED:
        return _plain_array(statement, column, condition.match)
    match condition.match:
        case Empty():
            return f"{column} IS NULL"
        case OneOf((only,)):
            return f"{column} = {statement.bind(only, 'text')}"
        case OneOf(values):
            return f"{column} = ANY({statement.bind(list(values), 'text[]')})"
        case Number(value):
            return f"{column} = {statement.bind(value, 'bigint')}"
        case Wildcard(pattern):
            return f"{column} LIKE {statement.bind(like_pattern(pattern), 'text')}"
        case Range(low, high):
            kind = "time" if of.vr == "TM" else "date"
            if low == high:
                return f"{column} = {statement.bind(low, kind)}"
            return " AND ".join(
                f"{column} {sign} {statement.bind(bound, kind)}"
                for sign, bound in ((">=", low), ("<=", high))
                if bound is not None
            )
        case Fuzzy() | AllOf():
            raise TypeError("a column has one value, and no name")


def _plain_array(statement: Statement, column: str, match: Match) -> str:
    match match:
        case OneOf(values):
            return f"{column} && {statement.bind(list(values), 'text[]')}"  # GIN study_modalities
        case AllOf(values):
            return f"{column} @> {statement.bind(list(values), 'text[]')}"
        case Empty():
            return f"{column} = '{{}}'"
        case Wildcard(pattern):
            bound = statement.bind(like_pattern(pattern), "text")
            return f"EXISTS (SELECT FROM unnest({column}) AS one WHERE one LIKE {bound})"
        case _:
            raise TypeError("an array column takes values and wildcards")


def _ids(level: Level) -> str:
    return {
        Level.PATIENT: "s.id AS study_id",
        Level.STUDY: "s.id AS study_id",
        Level.SERIES: "s.id AS study_id, e.id AS series_id",
    }.get(level, "s.id AS study_id, e.id AS series_id, i.id AS instance_id")


def _joins(level: Level) -> str:
    series = " JOIN index.series e ON e.id = hit.series_id"
    return {Level.PATIENT: "", Level.STUDY: "", Level.SERIES: series}.get(
        level, f"{series} JOIN index.instance i ON i.id = hit.instance_id"
    )
