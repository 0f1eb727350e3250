"""No service names a table of another's schema in SQL: readers for that stand in common."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from darkroom_common.postgres.migrate import load_migrations

ROOT = Path(__file__).parents[2]
OWNERS = {
    "index": "metadata",
    "ingest": "ingest",
    "transmit": "transmit",
    "print": "print",
    "api": "api",
    "licensing": "licensing",
}
SCHEMAS = "|".join(OWNERS)
SQL = re.compile(rf"\b(?:FROM|JOIN|INTO|UPDATE|ONLY|TABLE)\s+({SCHEMAS})\.([a-z_]+)", re.IGNORECASE)


def named(text: str) -> Iterator[tuple[str, str]]:
    """Yield (schema, table) of whatever the SQL in the strings of a module names."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from SQL.findall(node.value)


def modules(service: str) -> list[Path]:
    return sorted((ROOT / "services" / service / "src").rglob("*.py"))


@pytest.mark.parametrize("service", sorted(set(OWNERS.values())))
def test_a_service_names_its_own_tables_only(service: str) -> None:
    assert modules(service)
    for path in modules(service):
        for schema, table in named(path.read_text(encoding="utf-8")):
            assert OWNERS[schema] == service, f"{path.relative_to(ROOT)}: {schema}.{table}"


def test_tables_are_seen_in_every_kind_of_string() -> None:
    text = 'A = "SELECT 1 FROM index.study"\nB = f"x {A} JOIN  print.job j"\nC = "from index.x"'
    assert list(named(text)) == [("index", "study"), ("index", "x"), ("print", "job")]


def test_the_readers_of_the_index_are_where_they_are_expected() -> None:
    readers = ROOT / "libs" / "common" / "src" / "darkroom_common"
    found = {
        path.relative_to(readers).parts[0]
        for path in readers.rglob("*.py")
        for schema, _ in named(path.read_text(encoding="utf-8"))
        if schema == "index"
    }
    assert found == {"index"}


@pytest.mark.parametrize("service", sorted(set(OWNERS.values())))
def test_no_two_migrations_of_a_service_have_one_number(service: str) -> None:
    assert load_migrations(f"darkroom_{service}")
