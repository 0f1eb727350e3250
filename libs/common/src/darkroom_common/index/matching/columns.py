"""SQL for what a key asks of a plain column."""

from typing import Final

from darkroom_common.index.fields import Field, Kept, Level
from darkroom_common.index.matching.patterns import like_pattern
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
from darkroom_common.index.pages import Statement
from darkroom_common.index.query import Condition

ALIAS: Final = {Level.PATIENT: "s", Level.STUDY: "s", Level.SERIES: "e", Level.INSTANCE: "i"}
"""Of the rows of each level in a statement; patient attributes are in study rows."""


def plain_column(statement: Statement, condition: Condition) -> str:  # noqa: PLR0911 - one per kind
    """Return the condition on a plain column."""
    of: Field = condition.field
    column = f"{ALIAS[of.level]}.{of.column}"
    if of.kept is Kept.COMPUTED:
        return plain_array(statement, column, condition.match)
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


def plain_array(statement: Statement, column: str, match: Match) -> str:
    """Return the condition on a plain column that holds an array."""
    match match:
        case OneOf(values):
            return f"{column} && {statement.bind(list(values), 'text[]')}"  # study_search
        case AllOf(values):
            return f"{column} @> {statement.bind(list(values), 'text[]')}"
        case Empty():
            return f"{column} = '{{}}'"
        case Wildcard(pattern):
            bound = statement.bind(like_pattern(pattern), "text")
            return f"EXISTS (SELECT FROM unnest({column}) AS one WHERE one LIKE {bound})"
        case _:
            raise TypeError("an array column takes values and wildcards")
