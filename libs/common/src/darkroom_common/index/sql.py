"""SQL for a `Query`: text with bind parameters only, never a value.

Blind tokens narrow the candidates on the GIN indexes `study_search` and `series_blind`. A token of
a whole value (or of a word prefix of up to `PREFIX_LIMIT` characters) proves equality by itself;
wildcards, longer words and ranges are checked on the decrypted `n` of the candidates.
"""

from collections.abc import Sequence
from typing import Any, Final

from darkroom_common.index.fields import Field, Kept, Level
from darkroom_common.index.matching.columns import ALIAS, plain_array, plain_column
from darkroom_common.index.matching.patterns import (
    certain_prefixes,
    is_narrow,
    like_pattern,
    patterns_of,
)
from darkroom_common.index.matching.runs import asked_runs
from darkroom_common.index.matching.values import (
    AllOf,
    Empty,
    Fuzzy,
    Number,
    OneOf,
    Range,
    Wildcard,
)
from darkroom_common.index.pages import COUNT_CAP, Form, Statement
from darkroom_common.index.query import FREE_TEXT, Condition, Query
from darkroom_common.postgres.phi import PREFIX_LIMIT, BlindIndex, PhiKeys

# Dates whose time sits in the column beside them: two ranges are one range of moments.
_MOMENTS: Final = {
    "StudyDate": "StudyTime",
    "PerformedProcedureStepStartDate": "PerformedProcedureStepStartTime",
}
_WITH_STUDIES: Final = (  # study_patient
    "EXISTS (SELECT FROM index.study o WHERE o.patient_id = s.id AND o.status <> 'deleted'{})"
)
# infix_runs, infix_unknown
_WITH_RUNS: Final = (
    "s.id IN (SELECT f.study_id FROM index.infix f WHERE f.runs @> {} OR f.runs IS NULL)"
)
_IN_TAGGED: Final = "{} IN (SELECT {} FROM {} WHERE {})"
_TAGGED: Final = "index.tagged t"
_TAGGED_OF_STUDY: Final = "index.tagged t JOIN index.series q ON q.id = t.series_id"
_COUNT: Final = "SELECT count(*) FROM ({} LIMIT {}) AS counted"


class Builder:
    """Builds the statements of one query."""

    def __init__(self, query: Query, *, keys: PhiKeys, blind: BlindIndex) -> None:
        self.query = query
        self._form = Form(query)
        self._keys = keys.by_id()
        self._blind = blind

    @property
    def is_narrow(self) -> bool:
        """Whether an index, and not only what is decrypted, says what matches."""
        query = self.query
        known = query.words or query.listed or query.sources or query.statuses or query.study_uid
        return bool(known or query.ordered) or len(self.wide) < len(query.conditions)

    @property
    def wide(self) -> list[str]:
        """Keywords of the conditions that no index knows anything of."""
        return [
            one.field.keyword
            for one in self.query.conditions
            if not is_narrow(one) and not self._runs(one)
        ]

    def page(
        self, columns: str, bound: Sequence[object] = (), *, within: int | None = None
    ) -> tuple[str, list[Any]]:
        """Return the statement for one page of results, gone through in their order.

        Args:
            columns: of the rows s, e and i, as far as the level has them.
            bound: the values that `columns` refers to as $1 and so on.
            within: of studies: only among so many of the newest; None is all.
        """
        statement = Statement(list(bound))
        first = self._first(statement) + self._after(
            statement, self._form.newest, undated=self.query.offset > 0
        )
        where = self._where(statement)
        cut = self._cut(statement)
        return self._form.page(columns, first, where, cut, within=within), statement.values

    def newest(
        self, columns: str, bound: Sequence[object], *, rung: int, counted: bool
    ) -> tuple[str, list[Any]]:
        """Return the statement for a page of an open query; `matched` is NULL unless `counted`."""
        statement = Statement(list(bound))
        cut = self._cut(statement)
        return self._form.newest_page(columns, cut, rung, counted=counted), statement.values

    def counted(
        self, columns: str, bound: Sequence[object] = (), *, most: int
    ) -> tuple[str, list[Any]]:
        """Return the statement for a page that also says how many match, as `matched`.

        Beyond `most` the page is not in order, and only says that there are more.
        """
        statement = Statement(list(bound))
        where = self._every(statement)
        after = self._after(statement, self._form.kept, undated=True)
        sql = self._form.counted(columns, where, after, self._cut(statement), most=most)
        return sql, statement.values

    def hop(self, rows: int) -> tuple[str, list[Any]]:
        """Return the statement for study date and row of the last of so many results."""
        statement = Statement()
        where = self._every(statement) + self._after(statement, self._form.newest)
        return self._form.hop(where, rows), statement.values

    def count(self) -> tuple[str, list[Any]]:
        """Return the statement that counts up to `COUNT_CAP` + 1 matches."""
        every, values = self.matches()
        return _COUNT.format(every, COUNT_CAP + 1), values

    def matches(self) -> tuple[str, list[Any]]:
        """Return the statement with a row for every match."""
        statement = Statement()
        return self._form.matches(self._every(statement)), statement.values

    def ids(self) -> tuple[str, list[Any]]:
        """Return the statement with the row ids of studies, all of them, in the order of pages."""
        statement = Statement()
        return self._form.rows(self._every(statement)), statement.values

    def _cut(self, statement: Statement) -> str:
        limit = statement.bind(self.query.limit, "bigint")
        return f"LIMIT {limit} OFFSET {statement.bind(self.query.offset, 'bigint')}"

    def _every(self, statement: Statement) -> str:
        return f"{self._first(statement)} AND {self._where(statement)}"

    def _first(self, statement: Statement) -> str:
        """Return the condition on what is gone through: by its date, and by its listing."""
        query = self.query
        found = ["true"]
        for condition in self._dated():
            text = plain_column(statement, condition)
            found.append(text.replace("s.study_date", self._form.newest[0]))
        if query.by_listing:
            for one in query.listed:
                values = (statement.bind(*value) for value in one.values)
                found.append(one.text.format(*values))
            found += self._plainly(statement, "x")
            if query.ordered is not None:
                found += self._ordered(statement, query.ordered)
        return " AND ".join(found)

    @staticmethod
    def _ordered(statement: Statement, days: Range) -> list[str]:
        """Return the conditions on the order time of a row of `index.listing`."""
        found = []
        if days.low is not None:
            found.append(f"x.ordered >= {statement.bind(days.low, 'date')}")  # listing_ordered
        if days.high is not None:
            found.append(f"x.ordered < {statement.bind(days.high, 'date')} + 1")
        return found

    def _plainly(self, statement: Statement, of: str) -> list[str]:
        """Return the conditions on what `index.listing` has of a study as well as its own row."""
        query, found = self.query, []
        if query.statuses:
            found.append(f"{of}.status = ANY({statement.bind(list(query.statuses), 'text[]')})")
        if query.sources and query.level is not Level.PATIENT:
            found.append(_sent(statement, of, query.sources))
        found += [
            plain_array(statement, f"{of}.modalities", one.match)
            for one in query.conditions
            if one.field.keyword == "ModalitiesInStudy"
        ]
        return found

    def _dated(self) -> list[Condition]:
        """Return the conditions on the study date that are no part of one on moments."""
        timed = any(one.field.keyword == "StudyTime" for one in self.query.conditions)
        return [
            one
            for one in self.query.conditions
            if one.field.keyword == "StudyDate" and not (timed and self.query.combined)
        ]

    def _where(self, statement: Statement) -> str:
        """Return the other conditions."""
        plain, checked = self._split(statement)
        return " AND ".join(plain + checked)

    def _split(self, statement: Statement) -> tuple[list[str], list[str]]:
        """Return the other conditions: what columns and tokens say, and what decrypts."""
        query = self.query
        if query.is_listed:
            return ["true"], []
        there = "s.status <> 'deleted'"
        if query.level is Level.PATIENT:
            sent = f" AND {_sent(statement, 'o', query.sources)}" if query.sources else ""
            there = _WITH_STUDIES.format(sent)
        plain = [there, *self._plainly(statement, "s")]
        checked: list[str] = []
        if query.study_uid is not None:
            plain.append(f"s.study_instance_uid = {statement.bind(query.study_uid, 'text')}")
        if query.series_uid is not None:
            plain.append(f"e.series_instance_uid = {statement.bind(query.series_uid, 'text')}")
        dated = self._dated()
        conditions = [
            one
            for one in query.conditions
            if one not in dated and one.field.keyword != "ModalitiesInStudy"
        ]
        if query.combined:
            plain += self._moments(statement, conditions)
        for condition in conditions:
            if condition.field.kept is Kept.SEARCHABLE:
                self._encrypted(statement, condition, plain, checked)
            else:
                plain.append(plain_column(statement, condition))
        for word in query.words:
            self._free(statement, word, plain, checked)
        return plain, checked

    def _free(self, statement: Statement, word: str, plain: list[str], checked: list[str]) -> None:
        """Look for a word in any of the fields of free text."""
        tokens = [self._blind.prefix(of.keyword, word) for of in FREE_TEXT]
        plain.append(f"s.blind && {statement.bind(tokens, 'bytea[]')}")
        if len(word) > PREFIX_LIMIT:
            needle = statement.bind(word, "text")
            texts = [f"strpos({self._text(statement, of)}, {needle}) > 0" for of in FREE_TEXT]
            checked.append(f"({' OR '.join(texts)})")

    def _after(
        self, statement: Statement, columns: tuple[str, str], *, undated: bool = False
    ) -> str:
        """Return the condition on what follows the row that the page before has ended with.

        Of what follows a study with a date, those without one only where that is said: the index on
        the date has them behind a condition that it cannot begin at.
        """
        if self.query.after is None:
            return ""
        (of_day, of_row), (date, row) = columns, self.query.after
        if self.query.level is Level.PATIENT:
            of_day = "NULL::date"
        older = f"{of_row} < {statement.bind(row, 'bigint')}"
        if date is None:
            return f" AND {of_day} IS NULL AND {older}"
        day = statement.bind(date, "timestamp" if self.query.by_order else "date")
        follows = f"{of_day} <= {day} AND ({of_day} < {day} OR {older})"
        return f" AND ({follows} OR {of_day} IS NULL)" if undated else f" AND {follows}"

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
            day = f"{ALIAS[date.field.level]}.{date.field.column}"
            hour = f"{ALIAS[time.field.level]}.{time.field.column}"
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
                self._with_runs(statement, condition, plain)
                likes = [like_pattern(one) for one in patterns_of(condition.field, pattern)]
                patterns = statement.bind(likes, "text[]")
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

    def _with_runs(self, statement: Statement, condition: Condition, plain: list[str]) -> None:
        runs = self._runs(condition)
        if runs:
            plain.append(_WITH_RUNS.format(statement.bind(runs, "bigint[]")))

    def _runs(self, condition: Condition) -> list[int]:
        """Return the tokens of `index.infix` that all matches of a condition have."""
        of, match = condition.field, condition.match
        if self.query.level is Level.PATIENT or not isinstance(match, Wildcard) or of.tagged:
            return []
        return asked_runs(self._blind, of.keyword, patterns_of(of, match.pattern))

    def _text(self, statement: Statement, of: Field) -> str:
        """Return the expression of a field's decrypted search text."""
        alias = _alias(of)
        keys = statement.bind(self._keys, "text[]")
        name = statement.bind(of.keyword, "text")
        # A key that is missing is an error, not a row that does not match.
        key = f"coalesce(({keys})[{alias}.phi_key], '')"
        return f"(pgp_sym_decrypt({alias}.phi, {key})::json -> 'n' ->> {name})"

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


def _sent(statement: Statement, of: str, sources: Sequence[str]) -> str:
    return f"{of}.calling_ae_titles && {statement.bind(list(sources), 'text[]')}"


def _alias(of: Field) -> str:
    return "t" if of.tagged else ALIAS[of.level]
