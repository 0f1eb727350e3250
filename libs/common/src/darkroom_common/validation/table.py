"""The table of IODs, modules and attributes (PS3.3): `iods.json.gz`, made by libs/common/iods."""

import gzip
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

import orjson

_FILE: Final = files("darkroom_common.validation") / "iods.json.gz"
Expression = list[Any]
"""A condition: [sign, tag]; [sign, tag, place, values], the place from 0, or -1 for any;
[`and` or `or`, Expression...]; or [`not`, Expression]."""


class Condition(NamedTuple):
    """When something is there.

    Attributes:
        kind: MN: when `when` holds, and else not; MU: when it holds, else it may be; MC: when it
            holds, else it may be when `other` holds, else not; NU: not when it holds.
        when, other: the conditions.
        doubtful: when it holds, that something is missing is a warning.
    """

    kind: str
    when: Expression
    other: Expression | None
    doubtful: Expression | None


class Values(NamedTuple):
    """Values that an attribute has.

    Attributes:
        place: of the value from 1, or 0 for each of them.
        enumerated: whether there are no others (PS3.5 section 6.3); else these are defined terms.
        values: they.
    """

    place: int
    enumerated: int
    values: list[Any]


@dataclass(frozen=True)
class Attribute:
    """An attribute in a module, or in a sequence of one.

    Attributes:
        tag: it.
        kind: its type: 1, 1C, 2, 2C or 3 (PS3.5 section 7.4).
        condition: of types 1C and 2C; None when it cannot be decided.
        values: that it may have; empty for any.
        items: least and most items of a sequence; -1 for no bound.
        attributes: of its items, as a place in the table; -1 for none.
    """

    tag: int
    kind: str
    condition: Condition | None
    values: tuple[Values, ...]
    items: tuple[int, int]
    attributes: int


@dataclass(frozen=True)
class Module:
    """A module: its name, its section in the standard, and its attributes as a place."""

    name: str
    section: str
    attributes: int


@dataclass(frozen=True)
class ModuleOf:
    """A module in an IOD: its key, its usage M, C or U (PS3.3 A.1.3), and its condition."""

    key: str
    usage: str
    condition: Condition | None


@dataclass(frozen=True)
class GroupOf:
    """A functional group macro in an IOD; `sequences` are the tags that it puts in a group."""

    name: str
    section: str
    usage: str
    condition: Condition | None
    sequences: tuple[int, ...]


@dataclass(frozen=True)
class Iod:
    """An information object definition."""

    key: str
    name: str
    modules: tuple[ModuleOf, ...]
    groups: tuple[GroupOf, ...]


class Table:
    """The table; it is read once, and made into objects as far as they are asked for."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self._raw = raw
        self._conditions = [Condition(*one) for one in raw["conditions"]]
        self._values = [tuple(Values(*one) for one in many) for many in raw["values"]]
        self._lists: dict[int, tuple[Attribute, ...]] = {}
        self._tags: dict[int, frozenset[int]] = {}

    def iod(self, sop_class_uid: str) -> Iod | None:
        """Return the IOD of a SOP class; None when it is not known."""
        key = self._raw["sop_classes"].get(sop_class_uid)
        if key is None:
            return None
        one = self._raw["iods"][key]
        return Iod(
            key,
            one["name"],
            tuple(ModuleOf(key, usage, self._condition(at)) for key, usage, at in one["modules"]),
            tuple(
                GroupOf(name, section, usage, self._condition(at), tuple(sequences))
                for name, section, usage, at, sequences in one["groups"]
            ),
        )

    def module(self, key: str) -> Module | None:
        """Return a module; None when its attributes are not in the table."""
        one = self._raw["modules"].get(key)
        return None if one is None else Module(*one)

    def attributes(self, place: int) -> tuple[Attribute, ...]:
        """Return the attributes at a place."""
        if place < 0:
            return ()
        if place not in self._lists:
            nodes = self._raw["nodes"]
            self._lists[place] = tuple(
                Attribute(
                    tag,
                    kind,
                    self._condition(condition),
                    self._values[values] if values >= 0 else (),
                    (least, most),
                    below,
                )
                for tag, kind, condition, values, least, most, below in (
                    nodes[number] for number in self._raw["lists"][place]
                )
            )
        return self._lists[place]

    def tags(self, place: int) -> frozenset[int]:
        """Return the tags of the attributes at a place."""
        if place not in self._tags:
            self._tags[place] = frozenset(one.tag for one in self.attributes(place))
        return self._tags[place]

    def _condition(self, at: int) -> Condition | None:
        return self._conditions[at] if at >= 0 else None


@cache
def the_table() -> Table:
    """Return the table of this package."""
    return Table(orjson.loads(gzip.decompress(_FILE.read_bytes())))
