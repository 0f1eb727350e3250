"""From the query string of a QIDO-RS request to a `Query` (PS3.18 sections 8.3.4 and 10.6.1)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.datadict import dictionary_VR, tag_for_keyword

from darkroom_common.index.fields import BY_KEYWORD, BY_TAG, Field, Level
from darkroom_common.index.matching.values import BadKey, Matching
from darkroom_common.index.query import Condition, Query, conditions, require_bounded
from darkroom_common.index.tags.indexed import IndexedTag

_TAG: Final = re.compile(r"^[0-9A-Fa-f]{8}$")
_NAME: Final = re.compile(r"^[A-Za-z0-9.]{1,128}$")
_RANK: Final = {Level.PATIENT: 0, Level.STUDY: 1, Level.SERIES: 2, Level.INSTANCE: 3}
_UTF_8: Final = frozenset({"utf-8", "utf8", "iso_ir 192", "*"})
RESERVED: Final = frozenset(
    {
        "accept",
        "charset",
        "emptyvaluematching",
        "fuzzymatching",
        "includefield",
        "limit",
        "multiplevaluematching",
        "offset",
    }
)
"""Parameters that are no keys."""
MAX_OFFSET: Final = 1_000_000
"""Results to pass over; the database makes all of them first."""
MAX_PARAMETERS: Final = 100
NO_CHARSET: Final = "The charset parameter is not supported. The answer is in UTF-8."


@dataclass(frozen=True)
class Search:
    """A query as asked.

    Attributes:
        query: what is looked for.
        capped: whether the server's own limit stands in for the client's.
        warnings: what of the request is not done.
    """

    query: Query
    capped: bool
    warnings: tuple[str, ...] = ()


def parse_search(
    items: Sequence[tuple[str, str]],
    level: Level,
    *,
    below: tuple[str | None, str | None] = (None, None),
    most: int,
    tags: Sequence[IndexedTag] = (),
) -> Search:
    """Return the query of a request.

    Args:
        items: names and values of the query string, decoded.
        level: what the path asks for.
        below: study and series of the path.
        most: the server's limit on results.
        tags: those that people have named; needed when `wants_tags`.

    Raises:
        BadKey: names the parameter that cannot be.
    """
    if len(items) > MAX_PARAMETERS:
        raise BadKey("query", f"has more than {MAX_PARAMETERS} parameters")
    given: dict[str, list[str]] = {name: [] for name in RESERVED}
    keys: dict[str, list[str]] = {}
    for name, value in items:
        (given if name in RESERVED else keys).setdefault(name, []).append(value)
    asked = Matching(
        fuzzy=boolean_of("fuzzymatching", given["fuzzymatching"]),
        empty=boolean_of("emptyvaluematching", given["emptyvaluematching"]),
        several=boolean_of("multiplevaluematching", given["multiplevaluematching"]),
    )
    limit = integer_of("limit", given["limit"])
    names = Names(tags)
    include, include_all, wanted = names.included(given["includefield"])
    offset = integer_of("offset", given["offset"]) or 0
    if offset > MAX_OFFSET:
        raise BadKey("offset", f"is at most {MAX_OFFSET}; narrow the search")
    found, keyed = _conditions(keys, level, asked, names)
    named = frozenset(one.tag.partition(".")[0] for one in keyed if not one.tagged)
    wanted |= {one for one in keyed if one.tagged}
    return Search(
        Query(
            level,
            study_uid=below[0],
            series_uid=below[1],
            conditions=found,
            include=include | named,
            tags=tuple(sorted(wanted, key=lambda one: one.keyword)),
            include_all=include_all,
            limit=most if limit is None else min(limit, most),
            offset=offset,
        ),
        capped=limit is None or limit > most,
        warnings=() if _takes_utf_8(given["charset"]) else (NO_CHARSET,),
    )


def _conditions(
    keys: dict[str, list[str]], level: Level, asked: Matching, names: "Names"
) -> tuple[tuple[Condition, ...], list[Field]]:
    """Return the conditions, and their fields, which are answered as well."""
    found: list[Condition] = []
    used: dict[Field, str] = {}
    for name, values in keys.items():
        field = names.field(name, level)
        if used.setdefault(field, name) != name or (len(values) > 1 and field.vr != "UI"):
            raise BadKey(field.keyword, "is given twice")
        found += conditions(field, ",".join(values), asked)
    require_bounded(found)
    return tuple(found), list(used)


def wants_tags(items: Sequence[tuple[str, str]]) -> bool:
    """Tell whether a query string names anything but what the index always has."""
    names = [name for name, _ in items if name not in RESERVED]
    names += [
        one.strip() for name, text in items if name == "includefield" for one in text.split(",")
    ]
    return any(name not in BY_KEYWORD and name.upper() not in BY_TAG for name in names)


class Names:
    """What names of parameters mean: attributes of the index, and tags that people have named."""

    def __init__(self, tags: Sequence[IndexedTag]) -> None:
        self._by_name = {tag.name: tag.field for tag in tags}
        self._by_path: dict[str, list[Field]] = {}
        for tag in tags:
            self._by_path.setdefault(tag.field.tag, []).append(tag.field)

    def field(self, name: str, level: Level) -> Field:
        """Return the field that a key means, by name, keyword, tag, or a path of the latter.

        Raises:
            BadKey: there is none, or not at this level.
        """
        field = self._find(name)
        if field is None:
            raise BadKey(name, "cannot be searched by")
        if field.keyword == "Modality" and level is Level.STUDY:
            return BY_KEYWORD["ModalitiesInStudy"]  # what clients mean
        if _RANK[field.level] > _RANK[level]:
            raise BadKey(field.keyword, f"is not an attribute of the {level.value} level")
        return field

    def included(self, values: Sequence[str]) -> tuple[frozenset[str], bool, set[Field]]:
        """Return the attributes that are wanted besides, whether all are, and which tags are.

        Raises:
            BadKey: a name is none.
        """
        names = [name.strip() for value in values for name in value.split(",") if name.strip()]
        if len(names) > MAX_PARAMETERS:
            raise BadKey("includefield", f"names more than {MAX_PARAMETERS} attributes")
        tags: set[str] = set()
        wanted: set[Field] = set()
        if "all" in names:
            wanted |= {field for some in self._by_path.values() for field in some}
        for name in names:
            if name in self._by_name:
                wanted.add(self._by_name[name])
            elif name != "all":
                path = path_of(name)
                tags.add(path.partition(".")[0])
                wanted |= set(self._by_path.get(path, ()))
        return frozenset(tags), "all" in names, wanted

    def _find(self, name: str) -> Field | None:
        if name in self._by_name and name not in BY_KEYWORD:
            return self._by_name[name]
        path = path_of(name)
        named = self._by_path.get(path, [])
        if path not in BY_TAG and len(named) > 1:
            raise BadKey(name, "is of several creators; use the name of one of them")
        return BY_TAG.get(path) or next(iter(named), None)


def path_of(name: str) -> str:
    """Return the tags of a keyword, a tag, or a path of either.

    Raises:
        BadKey: it is none.
    """
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


def _takes_utf_8(values: Sequence[str]) -> bool:
    """Tell whether UTF-8 is among the character sets that a client accepts (PS3.18 8.3.3.2)."""
    sets = [one.partition(";")[0].strip().lower() for value in values for one in value.split(",")]
    return not sets or not _UTF_8.isdisjoint(sets)


def integer_of(name: str, values: Sequence[str]) -> int | None:
    """Return the number that a parameter says; None: it is left out.

    Raises:
        BadKey: it says none.
    """
    if not values:
        return None
    text = values[-1]
    if len(values) > 1 or not re.fullmatch(r"[0-9]{1,18}", text):
        raise BadKey(name, "takes one number, 0 or more")
    return int(text)


def boolean_of(name: str, values: Sequence[str]) -> bool:
    """Return what a parameter says; left out: false.

    Raises:
        BadKey: it is neither true nor false.
    """
    if not values:
        return False
    if len(values) > 1 or values[0].lower() not in ("true", "false"):
        raise BadKey(name, "takes true or false")
    return values[0].lower() == "true"
