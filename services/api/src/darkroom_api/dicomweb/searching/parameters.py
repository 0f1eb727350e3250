"""From the query string of a QIDO-RS request to a `Query` (PS3.18 sections 8.3.4 and 10.6.1)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.datadict import dictionary_VR, tag_for_keyword

from darkroom_common.index.fields import BY_TAG, Field, Level
from darkroom_common.index.query import BadKey, Condition, Query, conditions, require_bounded

_TAG: Final = re.compile(r"^[0-9A-Fa-f]{8}$")
_NAME: Final = re.compile(r"^[A-Za-z0-9.]{1,128}$")
_RANK: Final = {Level.PATIENT: 0, Level.STUDY: 0, Level.SERIES: 1, Level.INSTANCE: 2}
_BIGGEST: Final = 2**31 - 1
MAX_OFFSET: Final = 1_000_000
"""Results to pass over; the database makes all of them first."""
MAX_PARAMETERS: Final = 100


@dataclass(frozen=True)
class Search:
    """A query as asked, and whether the server's own limit stands in for the client's."""

    query: Query
    capped: bool


def parse_search(
    items: Sequence[tuple[str, str]],
    level: Level,
    *,
    study_uid: str | None = None,
    series_uid: str | None = None,
    most: int,
) -> Search:
    """Return the query of a request.

    Args:
        items: names and values of the query string, decoded.
        level: what the path asks for.
        study_uid: of the path.
        series_uid: of the path.
        most: the server's limit on results.

    Raises:
        BadKey: names the parameter that cannot be.
    """
    if len(items) > MAX_PARAMETERS:
        raise BadKey("query", f"has more than {MAX_PARAMETERS} parameters")
    reserved = {"includefield", "limit", "offset", "fuzzymatching", "accept"}
    given: dict[str, list[str]] = {name: [] for name in reserved}
    keys: dict[str, list[str]] = {}
    for name, value in items:
        if name in given:
            given[name].append(value)
        else:
            keys.setdefault(name, []).append(value)
    fuzzy = _boolean("fuzzymatching", given["fuzzymatching"])
    limit = _integer("limit", given["limit"])
    include, include_all = _include(given["includefield"])
    offset = _integer("offset", given["offset"]) or 0
    if offset > MAX_OFFSET:
        raise BadKey("offset", f"is at most {MAX_OFFSET}; narrow the search")
    return Search(
        Query(
            level,
            study_uid=study_uid,
            series_uid=series_uid,
            conditions=_conditions(keys, level, fuzzy=fuzzy),
            include=include,
            include_all=include_all,
            limit=most if limit is None else min(limit, most),
            offset=offset,
        ),
        capped=limit is None or limit > most,
    )


def _conditions(keys: dict[str, list[str]], level: Level, *, fuzzy: bool) -> tuple[Condition, ...]:
    found: list[Condition] = []
    used: set[str] = set()
    for name, values in keys.items():
        field = _field(name, level)
        if field.tag in used or (len(values) > 1 and field.vr != "UI"):
            raise BadKey(field.keyword, "is given twice")
        used.add(field.tag)
        found += conditions(field, ",".join(values), fuzzy=fuzzy)
    require_bounded(found)
    return tuple(found)


def _field(name: str, level: Level) -> Field:
    """Return the field that a parameter's name means, by keyword, tag, or a path of either."""
    field = BY_TAG.get(_path(name))
    if field is None:
        raise BadKey(name, "cannot be searched by")
    if _RANK[field.level] > _RANK[level]:
        raise BadKey(field.keyword, f"is not an attribute of the {level.value} level")
    return field


def _path(name: str) -> str:
    if not _NAME.match(name):
        raise BadKey("a parameter", "has a name that is neither a keyword nor a tag")
    return ".".join(_tag(part, name) for part in name.split("."))


def _tag(part: str, name: str) -> str:
    if _TAG.match(part):
        tag = part.upper()
        if tag not in BY_TAG and int(tag[:4], 16) % 2 == 0:
            try:
                dictionary_VR(int(tag, 16))
            except KeyError:
                raise BadKey(name, "is not an attribute") from None
        return tag
    number = tag_for_keyword(part)
    if number is None:
        raise BadKey(name, "is not an attribute")
    return f"{number:08X}"


def _include(values: Sequence[str]) -> tuple[frozenset[str], bool]:
    names = [name.strip() for value in values for name in value.split(",") if name.strip()]
    if len(names) > MAX_PARAMETERS:
        raise BadKey("includefield", f"names more than {MAX_PARAMETERS} attributes")
    tags = {_path(name).partition(".")[0] for name in names if name != "all"}
    return frozenset(tags), "all" in names


def _integer(name: str, values: Sequence[str]) -> int | None:
    if not values:
        return None
    text = values[-1]
    if len(values) > 1 or not re.fullmatch(r"[0-9]{1,18}", text):
        raise BadKey(name, "takes one number, 0 or more")
    return min(int(text), _BIGGEST)


def _boolean(name: str, values: Sequence[str]) -> bool:
    if not values:
        return False
    if len(values) > 1 or values[0].lower() not in ("true", "false"):
        raise BadKey(name, "takes true or false")
    return values[0].lower() == "true"
