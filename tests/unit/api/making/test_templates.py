"""Documents hold what their templates say (PS3.16), row by row, as DCMTK's `dsrdump` reads them.

The tables here are those of the standard, written down apart from what makes the documents: for
each content item its relationship, value type, unit, and how often it may be there.
"""

import re
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from darkroom_api.objects.exchange import Kind
from tests.unit.api.making.kinds import AnyOf, made

_MANY = 10_000
_LINE = re.compile(
    r"^(?P<indent> *)<(?:(?P<relation>[a-z ]+) )?(?P<type>[A-Z]+):"
    r'(?:\((?P<code>[\w-]+),(?P<scheme>\w+),"[^"]*"\))?=(?P<value>.*)>$'
)
_NUMBER = re.compile(r'^"(?P<number>[^"]*)" \((?P<unit>[^,]+),UCUM,')
_CODED = re.compile(r"^\((?P<code>[\w-]+),")


class Row(NamedTuple):
    """A row of a template."""

    relation: str
    type: str
    least: int = 0
    most: int = 1
    unit: str = ""
    values: frozenset[str] = frozenset()
    below: str = ""


@dataclass
class Item:
    """A content item as DCMTK reads it; `code` with its scheme."""

    relation: str
    type: str
    code: str
    value: str
    items: list["Item"] = field(default_factory=list)


MODIFIER, CONTEXT, PROPERTIES, CONTAINS = (
    "has concept mod",
    "has obs context",
    "has properties",
    "contains",
)
PLANES = frozenset({"113622", "113620", "113621"})  # CID 10003
POINTS = frozenset(  # CID 10025
    {"113860", "113861", "113862", "113863", "113864", "113865", "113941", "113964", "113965"}
)
GY_M2, GY, ONE, SECONDS = "Gy.m2", "Gy", "1", "s"
TABLES: dict[str, dict[str, Row]] = {
    "10001": {
        "121058:DCM": Row(
            MODIFIER, "CODE", 1, values=frozenset({"113704", "71651007"}), below="reported"
        ),
        # TID 1002 and 1004
        "121005:DCM": Row(CONTEXT, "CODE", 1, values=frozenset({"121006", "121007"})),
        "121012:DCM": Row(CONTEXT, "UIDREF", 1),
        "121013:DCM": Row(CONTEXT, "TEXT"),
        "121014:DCM": Row(CONTEXT, "TEXT"),
        "121015:DCM": Row(CONTEXT, "TEXT"),
        "121016:DCM": Row(CONTEXT, "TEXT"),
        "113705:DCM": Row(
            CONTEXT,
            "CODE",
            1,
            values=frozenset({"113014", "113015", "113016", "113970", "113852"}),
            below="scope",
        ),
        "113702:DCM": Row(CONTAINS, "CONTAINER", 1, 2, below="10002"),
        "113706:DCM": Row(CONTAINS, "CONTAINER", 1, _MANY, below="10003"),
        "113854:DCM": Row(
            CONTAINS,
            "CODE",
            1,
            _MANY,
            values=frozenset(  # CID 10020
                {"113856", "113857", "113858", "15869005"}
                | {"113866", "113867", "113868", "113940"}
            ),
        ),
    },
    "reported": {"363703001:SCT": Row(MODIFIER, "CODE", 1)},
    "scope": {
        # CID 10001
        "110180:DCM": Row(PROPERTIES, "UIDREF"),
        "121126:DCM": Row(PROPERTIES, "UIDREF"),
        "112002:DCM": Row(PROPERTIES, "UIDREF"),
        "113769:DCM": Row(PROPERTIES, "UIDREF"),
    },
    "10002": {
        "113764:DCM": Row(MODIFIER, "CODE", 1, values=PLANES),
        # TID 10004 and 10007
        "113722:DCM": Row(CONTAINS, "NUM", unit=GY_M2),
        "113725:DCM": Row(CONTAINS, "NUM", unit=GY),
        "113726:DCM": Row(CONTAINS, "NUM", unit=GY_M2),
        "113728:DCM": Row(CONTAINS, "NUM", unit=GY),
        "113730:DCM": Row(CONTAINS, "NUM", unit=SECONDS),
        "113727:DCM": Row(CONTAINS, "NUM", unit=GY_M2),
        "113729:DCM": Row(CONTAINS, "NUM", unit=GY),
        "113855:DCM": Row(CONTAINS, "NUM", unit=SECONDS),
        "113731:DCM": Row(CONTAINS, "NUM", unit=ONE),
        "113780:DCM": Row(CONTAINS, "CODE", values=POINTS),
    },
    "10003": {
        "113764:DCM": Row(MODIFIER, "CODE", 1, values=PLANES),
        "113769:DCM": Row(CONTAINS, "UIDREF", 1),
        "111526:DCM": Row(CONTAINS, "DATETIME", 1),
        "113721:DCM": Row(
            CONTAINS, "CODE", 1, values=frozenset({"113611", "113612", "113613", "44491008"})
        ),
        "125203:DCM": Row(CONTAINS, "TEXT"),
        "123014:DCM": Row(CONTAINS, "CODE", 1, below="region"),
        "122130:DCM": Row(CONTAINS, "NUM", unit=GY_M2),
        "113780:DCM": Row(CONTAINS, "CODE", values=POINTS),
        # TID 10003A
        "113845:DCM": Row(CONTAINS, "NUM", unit=ONE),
        "113846:DCM": Row(CONTAINS, "NUM", unit=ONE),
        "113847:DCM": Row(CONTAINS, "NUM", unit=ONE),
        # TID 10003B
        "113738:DCM": Row(CONTAINS, "NUM", unit=GY),
        "113733:DCM": Row(CONTAINS, "NUM", most=_MANY, unit="kV"),
        "113734:DCM": Row(CONTAINS, "NUM", most=_MANY, unit="mA"),
        "113824:DCM": Row(CONTAINS, "NUM", unit="ms"),
        "113736:DCM": Row(CONTAINS, "NUM", most=_MANY, unit="uA.s"),
        "113768:DCM": Row(CONTAINS, "NUM", unit=ONE),
        "113771:DCM": Row(CONTAINS, "CONTAINER", most=_MANY, below="filter"),
        # TID 10003C
        "113750:DCM": Row(CONTAINS, "NUM", unit="mm"),
        # TID 1020
        "113870:DCM": Row(CONTAINS, "PNAME", below="person"),
        "113795:DCM": Row(CONTAINS, "IMAGE", most=_MANY),
    },
    "region": {
        "272741003:SCT": Row(
            MODIFIER, "CODE", values=frozenset({"7771000", "24028007", "51440002", "66459002"})
        )
    },
    "filter": {
        "113772:DCM": Row(CONTAINS, "CODE"),
        "113757:DCM": Row(CONTAINS, "CODE", most=_MANY),
        "113758:DCM": Row(CONTAINS, "NUM", unit="mm"),
        "113773:DCM": Row(CONTAINS, "NUM", unit="mm"),
    },
    "person": {"113875:DCM": Row(PROPERTIES, "CODE", 1, values=frozenset({"113851"}))},
    "2010": {"113012:DCM": Row(CONTAINS, "TEXT"), "": Row(CONTAINS, "IMAGE", 1, _MANY)},
    "2000": {
        "121049:DCM": Row(MODIFIER, "CODE", 1),
        "121005:DCM": Row(CONTEXT, "CODE", values=frozenset({"121006"})),
        "121008:DCM": Row(CONTEXT, "PNAME"),
        "section": Row(CONTAINS, "CONTAINER", 1, _MANY, below="section"),
    },
    "section": {
        "121080:DCM": Row(CONTAINS, "IMAGE", 0, _MANY),
        "statement": Row(CONTAINS, "TEXT", 1, _MANY),
    },
}
TEMPLATES = {Kind.DOSE_REPORT: "10001", Kind.KEY_OBJECTS: "2010", Kind.TEXT_REPORT: "2000"}
"""Each kind of document and the template of its root."""
NUMBERS = {
    "dose_area_product": "122130",
    "dose": "113738",
    "kvp": "113733",
    "tube_current": "113734",
    "exposure_time": "113824",
    "exposure": "113736",
    "pulses": "113768",
    "distance_source_to_detector": "113750",
    "exposure_index": "113845",
    "target_exposure_index": "113846",
    "deviation_index": "113847",
}


def tree(path: Path) -> Item:
    """The content of a document as DCMTK reads it, which checks relationships by the IOD itself."""
    command = ["dsrdump", "-q", "+Pc", "+Pl", str(path)]
    ended = subprocess.run(command, capture_output=True, check=True, timeout=60)
    above: list[Item] = []
    for line in ended.stdout.decode().splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        code = f"{found['code']}:{found['scheme']}" if found["code"] else ""
        item = Item(found["relation"] or "", found["type"], code, found["value"])
        depth = len(found["indent"]) // 2
        if depth:
            above[depth - 1].items.append(item)
        above[depth:] = [item]
    assert above
    return above[0]


def kept(item: Item, table: str) -> None:
    """Hold the items below an item against a table."""
    rows, seen = TABLES[table], Counter[str]()
    for one in item.items:
        name = _name(one, rows)
        row = rows.get(name)
        assert row is not None, (table, one)
        seen[name] += 1
        assert (one.relation, one.type) == (row.relation, row.type), (table, one)
        if row.unit:
            number = _NUMBER.match(one.value)
            assert number is not None, one
            assert number["unit"] == row.unit, one
        if row.values:
            coded = _CODED.match(one.value)
            assert coded is not None, one
            assert coded["code"] in row.values, one
        if row.below:
            kept(one, row.below)
        else:
            assert one.items == [], one
    wrong = {
        name: (seen[name], row.least, row.most)
        for name, row in rows.items()
        if not row.least <= seen[name] <= row.most
    }
    assert not wrong, (table, wrong)
    if table == "scope":
        assert sum(seen.values()) == 1


def _name(one: Item, rows: dict[str, Row]) -> str:
    """The name of an item's row: of sections and of their statements the standard has lists."""
    if one.code in rows:
        return one.code
    return "section" if one.type == "CONTAINER" else "statement"


@pytest.mark.parametrize("kind", list(TEMPLATES))
def test_each_row_is_as_the_template_says(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "document.dcm"
    for number in range(8):
        path.write_bytes(made(kind, *AnyOf(number).values(kind)))
        kept(tree(path), TEMPLATES[kind])


@pytest.mark.req("IOD-03")
def test_numbers_and_units_are_those_that_went_in(tmp_path: Path) -> None:
    path = tmp_path / "document.dcm"
    for number in range(8):
        values, _ = AnyOf(number).values(Kind.DOSE_REPORT)
        path.write_bytes(made(Kind.DOSE_REPORT, values))
        events = [one for one in tree(path).items if one.code == "113706:DCM"]
        assert len(events) == len(values["events"])
        for event, given in zip(events, values["events"], strict=True):
            found = {
                one.code.partition(":")[0]: float(measured["number"])
                for one in event.items
                if (measured := _NUMBER.match(one.value)) is not None
            }
            wanted: dict[str, Any] = {
                code: pytest.approx(given[name], rel=1e-9, abs=1e-12)
                for name, code in NUMBERS.items()
                if given.get(name) is not None
            }
            assert found == wanted
