"""docs/compliance: what the pages name is there, and the risk file adds up."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from darkroom_api.accounts.access import ACCESS
from tests.contract.test_docs import anchors
from tests.support.deployed import ROOT
from tests.support.traceability import marked_tests

DIRECTORY: Final = ROOT / "docs" / "compliance"
PAGES: Final = sorted(DIRECTORY.glob("*.md"))
ACCEPTABLE: Final = 4
WITH_THE_OPERATOR: Final = {"R4", "R5"}
_LINK: Final = re.compile(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]+)?\)")
_TEST: Final = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
_PLACE: Final = re.compile(r"`((?:libs|services|tests|docs|infra|\.github)/[\w./-]+)`")
_ROUTE: Final = re.compile(r"`(GET|POST|PUT|PATCH|DELETE) (/api/v1/[^`\s]+)`")
_RISK: Final = re.compile(r"^\| (R\d+) \|(.*)\|$", re.MULTILINE)


@pytest.mark.req("DOC-01")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    for path, anchor in _LINK.findall(text):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), path + anchor
    assert [place for place in _PLACE.findall(text) if not (ROOT / place).exists()] == []
    assert [route for route in _ROUTE.findall(text) if route not in ACCESS] == []
    for path, name in _TEST.findall(text):
        assert name in functions_of(ROOT / path), f"{path}::{name}"


@cache
def functions_of(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text()))
    return {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.req("DOC-01")
def test_each_risk_adds_up_and_its_control_has_a_test_or_an_owner() -> None:
    risks = _RISK.findall((DIRECTORY / "risks.md").read_text())
    assert [name for name, _ in risks] == [f"R{n}" for n in range(1, len(risks) + 1)]
    for name, row in risks:
        _, severity, control, shown, probability, product = (c.strip() for c in row.split(" | "))
        assert int(severity) * int(probability) == int(product), name
        assert int(product) <= ACCEPTABLE, name
        assert (int(product) == ACCEPTABLE) is (name in WITH_THE_OPERATOR), name
        assert _TEST.search(shown) or "Organisation" in control, name


def test_every_group_of_requirements_has_its_place_in_the_code() -> None:
    groups = set(
        re.findall(r"^\| ([A-Z]{3}) \|", (DIRECTORY / "code.md").read_text(), re.MULTILINE)
    )
    assert groups >= {requirement[:3] for requirement in marked_tests(ROOT / "tests")}
