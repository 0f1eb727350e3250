"""The page on security: its tables are those of the code, and ASVS is mapped whole."""

import re
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.support.rights_page import PAGE, parts, render

TESTS: Final = Path(__file__).parents[1]
ROOT: Final = TESTS.parent
SECTIONS: Final[dict[str, str]] = {
    # Of ASVS 5.0.0, by section: the numbers of the requirements of levels 1 and 2.
    "1.1": "1-2",
    "1.2": "1-9",
    "1.3": "1-11",
    "1.4": "1-3",
    "1.5": "1-2",
    "2.1": "1-3",
    "2.2": "1-3",
    "2.3": "1-4",
    "2.4": "1",
    "3.2": "1-2",
    "3.3": "1-4",
    "3.4": "1-6",
    "3.5": "1-5",
    "3.7": "1-2",
    "4.1": "1-3",
    "4.2": "1",
    "4.3": "1-2",
    "4.4": "1-4",
    "5.1": "1",
    "5.2": "1-3",
    "5.3": "1-2",
    "5.4": "1-3",
    "6.1": "1-3",
    "6.2": "1-12",
    "6.3": "1-4",
    "6.4": "1-4",
    "6.5": "1-5",
    "6.6": "1-3",
    "6.8": "1-4",
    "7.1": "1-3",
    "7.2": "1-4",
    "7.3": "1-2",
    "7.4": "1-5",
    "7.5": "1-2",
    "7.6": "1-2",
    "8.1": "1-2",
    "8.2": "1-3",
    "8.3": "1",
    "8.4": "1",
    "9.1": "1-3",
    "9.2": "1-4",
    "10.1": "1-2",
    "10.2": "1-2",
    "10.3": "1-4",
    "10.4": "1-11",
    "10.5": "1-5",
    "10.6": "1-2",
    "10.7": "1-3",
    "11.1": "1-2",
    "11.2": "1-3",
    "11.3": "1-3",
    "11.4": "1-4",
    "11.5": "1",
    "11.6": "1",
    "12.1": "1-3",
    "12.2": "1-2",
    "12.3": "1-4",
    "13.1": "1",
    "13.2": "1-5",
    "13.3": "1-2",
    "13.4": "1-5",
    "14.1": "1-2",
    "14.2": "1-4",
    "14.3": "1-3",
    "15.1": "1-3",
    "15.2": "1-3",
    "15.3": "1-7",
    "16.1": "1",
    "16.2": "1-5",
    "16.3": "1-4",
    "16.4": "1-3",
    "16.5": "1-3",
    "17.1": "1",
    "17.2": "1-4",
    "17.3": "1-2",
}


def required() -> set[str]:
    found = set()
    for section, numbers in SECTIONS.items():
        first, _, last = numbers.partition("-")
        found |= {f"{section}.{n}" for n in range(int(first), int(last or first) + 1)}
    return found


def mapped() -> list[tuple[list[str], str, list[str]]]:
    """The rows of the page: requirements, what there is, tests."""
    text = PAGE.read_text(encoding="utf-8").partition("## ASVS 5.0")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| ([\d., ]+) \| (.*) \|(.*)\|$", text, flags=re.MULTILINE)
    return [
        (ids.split(", "), what, re.findall(r"`(test_\w+)`", what + tests))
        for ids, what, tests in cells
    ]


def test_the_tables_of_routes_and_roles_are_up_to_date() -> None:
    assert parts()[1] == render(), "run `python -m tests.support.rights_page`"


def test_the_standard_has_as_many() -> None:
    assert len(required()) == 253  # 70 of level 1, 183 of level 2


def test_each_requirement_is_mapped_once() -> None:
    counted = Counter(one for ids, _, _ in mapped() for one in ids)
    assert set(counted) == required()
    assert max(counted.values()) == 1


@pytest.mark.parametrize("row", mapped(), ids=lambda row: row[0][0])
def test_each_has_a_test_or_a_reason(row: tuple[list[str], str, list[str]]) -> None:
    _, what, tests = row
    assert len(what) >= 10
    sources = (path.read_text("utf-8") for path in TESTS.rglob("test_*.py"))
    there = {name for text in sources for name in re.findall(r"def (test_\w+)", text)}
    assert set(tests) <= there


TECHNOLOGIES = re.compile(
    "LDAP|XPath|LaTeX|JNDI|memcache|postMessage|GraphQL|WebSocket|SAML|WebRTC|XML"
)
"""Of which the page may say that there is none here."""


def test_what_is_said_not_to_be_here_is_nowhere_in_the_code() -> None:
    said = {
        name
        for _, what, _ in mapped()
        if what.startswith("none here")
        for name in TECHNOLOGIES.findall(what)
    }
    assert {"LDAP", "GraphQL", "SAML"} <= said
    files = [path for kind in ("*.py", "*.js") for path in ROOT.glob(f"[ls]*/*/src/**/{kind}")]
    ours = " ".join(path.read_text("utf-8") for path in files if "vendored" not in path.parts)
    assert len(ours) > 1_000_000
    assert [name for name in said if re.search(rf"\b{name}\b", ours, re.IGNORECASE)] == []
