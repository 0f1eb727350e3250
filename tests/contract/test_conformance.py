"""Every line of the conformance statement names a test that there is, whatever is set."""

import re
from collections import Counter
from typing import Any, Final

import pytest

from darkroom_api.conformance.pages import html, markdown
from darkroom_api.conformance.statement import Statement, statement
from darkroom_common.conformance.tables import CONTENTS, INTRODUCTION, SECTIONS, TABLES
from darkroom_ingest.conformance.stated import stated as of_ingest
from darkroom_ingest.settings import IngestSettings
from tests.support.conformance import PAGE, ROOT, SECRETS, named_tests, stated

SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "default": {},
    "encrypted": {
        "dicom_tls_certificate": "/c",
        "dicom_tls_key": "/k",
        "dicom_tls_client_ca": "/a",
        "dicom_plain": False,
        "http_tls_certificate": "/c",
        "http_tls_key": "/k",
        "atna_repository": "audit:6514",
    },
    "otherwise": {
        "private_sop_classes": ["1.2.3.4"],
        "unknown_ae": "accept",
        "require_called_ae_title": False,
        "commitment_port": None,
        "oidc_issuer": "https://p",
        "oidc_client_id": "d",
        "oidc_roles": {"a": "b"},
    },
}


def receiving_alone() -> Statement:
    """Return the statement of an ingest that has no keys of the index, and of nobody else."""
    given = SECRETS | {"phi_keys": None, "blind_index_key": None}
    return statement("0", (), {"ingest": list(of_ingest(IngestSettings.model_validate(given)))})


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown(stated()), "run `make conformance`"


@pytest.mark.parametrize("name", [*SETTINGS, "receiving alone"])
def test_each_line_names_a_test_that_there_is(name: str) -> None:
    found = stated(**SETTINGS[name]) if name in SETTINGS else receiving_alone()
    tests = named_tests(ROOT / "tests")
    assert {one.shown_by for one in found.lines} - tests == set()
    for one in found.lines:
        assert len(one.cells) == len(TABLES[one.table].columns), one
    twice = Counter((one.table, one.cells) for one in found.lines)
    own = {table for (table, _), count in twice.items() if count > 1}
    assert own <= {"services"}  # echoes are sent by two services
    assert {form.section for form in TABLES.values()} == set(SECTIONS) - {CONTENTS, INTRODUCTION}


def test_each_line_of_the_ihe_statement_names_a_test_that_there_is() -> None:
    page = (ROOT / "docs" / "ihe" / "README.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("|")]
    lines = [row for row in rows if not row.startswith(("|---", "| actor |"))]
    named = [re.search(r"\| `(tests/[^`]+)` \|$", row) for row in lines]
    assert len(lines) > 20
    assert all(named)
    assert {one[1] for one in named if one} - named_tests(ROOT / "tests") == set()


def test_what_has_no_keys_of_the_index_answers_nothing() -> None:
    found = receiving_alone()
    roles = {one.cells[0] for one in found.lines if one.table == "services"}
    assert roles == {"Verification", "Storage"}
    assert found.missing == ["print", "transmit"]
    assert "Nothing has been told yet by: print, transmit" in markdown(found)


def test_what_is_set_is_stated() -> None:
    plain, encrypted, open_door = (
        {(one.table, one.cells) for one in stated(**SETTINGS[name]).lines} for name in SETTINGS
    )
    assert ("storage", ("1.2.3.4", "1.2.3.4", "by configuration")) in open_door - plain
    assert ("association", ("archive", "Calling AE titles", "any")) in open_door - plain
    assert any(table == "contexts" and cells[0] == "11113" for table, cells in plain - open_door)
    assert any(cells[-1] == "port 2762" for table, cells in encrypted if table == "security")
    assert all(
        "2762 TLS" in cells[0]
        for table, cells in encrypted
        if table == "contexts"
        if cells[0] != "11113"
    )


def test_the_sections_are_those_of_annex_n() -> None:
    """PS3.2 annex N (2024): eight that have numbers, then annexes; what is content comes first."""
    found = [(one.label, one.title) for one in stated().sections()]
    assert found == [
        ("1", "Overview"),
        ("2", "Table of contents"),
        ("3", "Introduction"),
        ("4", "Implementation model"),
        ("5", "Service and interoperability description"),
        ("6", "Configuration"),
        ("7", "Network and media communication details"),
        ("8", "Security"),
        ("A", "Annex: information object definitions"),
    ]
    overview = next(iter(stated().sections()))
    assert [(number, form.title) for number, form, _ in overview.numbered()] == [
        ("1.1", "Storage SOP classes"),
        ("1.1.1", "Root templates of structured reports"),
        ("1.2", "DICOM services"),
        ("1.3", "DICOM web services, as origin server"),
        ("1.4", "Media services"),
        ("1.5", "Real-time video service"),
        ("1.6", "De-identification profiles (PS3.15 annex E)"),
        ("1.7", "Specific character sets (0008,0005)"),
    ]


def test_the_forms_have_all_lines() -> None:
    found = stated()
    page, document = markdown(found), html(found)
    rows = sum(page.count(f"| `tests/{folder}/") for folder in ("e2e", "integration", "unit"))
    assert rows == document.count("<td><code>tests/") == len(found.lines)
    listed = [line for one in found.sections() for _, lines in one.tables for line in lines]
    assert len(listed) == len(found.lines)
