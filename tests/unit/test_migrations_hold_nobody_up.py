"""A new migration rewrites no large table and keeps nobody waiting (DEP-10).

What was applied somewhere never changes, so the rule begins with the numbers after those of 2026.
"""

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
BEFORE: Final = {
    "ingest": 11,
    "metadata": 18,
    "transmit": 15,
    "print": 9,
    "api": 28,
    "licensing": 2,
}
"""The last number of each service that is not held to the rule."""
SMALL: Final = re.compile(r"^-- few rows: ([a-z_]+(?:, [a-z_]+)*)\.", re.MULTILINE)
_TABLE: Final = r"(?:IF (?:NOT )?EXISTS )?(?:ONLY )?(?:[a-z_]+\.)?(?P<table>[a-z_]+)"
_VOLATILE: Final = r"random|clock_timestamp|timeofday|gen_random_uuid|uuid_generate|nextval"
WAITS: Final = {
    rf"CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY)(?:IF NOT EXISTS )?\w+ ON {_TABLE}": (
        "nobody can write while an index is built: CREATE INDEX CONCURRENTLY, in a file of its own"
    ),
    rf"(?:UPDATE|DELETE FROM|TRUNCATE(?: TABLE)?) {_TABLE}": (
        "all rows are locked until the end: let the service fill them in, some at a time"
    ),
    rf"MERGE INTO {_TABLE}": "as UPDATE",
    rf"ALTER TABLE {_TABLE} .*?ALTER (?:COLUMN )?\w+ (?:SET DATA )?TYPE ": (
        "the table is written anew: add a column"
    ),
    rf"ALTER TABLE {_TABLE} .*?SET NOT NULL": (
        "all rows are read under a lock: ADD CONSTRAINT ... CHECK (... IS NOT NULL) NOT VALID,"
        " and VALIDATE CONSTRAINT in a later file"
    ),
    rf"ALTER TABLE {_TABLE} .*?ADD (?:COLUMN )?(?!CONSTRAINT)\w+ [^,]*?(?:{_VOLATILE})\s*\(": (
        "the table is written anew for a default that differs from row to row"
    ),
    rf"ALTER TABLE {_TABLE} .*?ADD (?:COLUMN )?(?!CONSTRAINT)\w+ [^,]*?"
    r"(?:\bUNIQUE\b|PRIMARY KEY|GENERATED|SERIAL)": (
        "the table is written anew, or an index is built under a lock"
    ),
    rf"ALTER TABLE {_TABLE} .*?ADD (?:CONSTRAINT \w+ )?(?:UNIQUE|PRIMARY KEY|EXCLUDE)\b"
    r"(?! USING INDEX)": (
        "an index is built under a lock: build it CONCURRENTLY, then ADD ... USING INDEX"
    ),
    rf"ALTER TABLE {_TABLE} .*?ADD (?:CONSTRAINT \w+ )?(?:CHECK|FOREIGN KEY)\b(?!.*NOT VALID)": (
        "all rows are read under a lock: NOT VALID, and VALIDATE CONSTRAINT in a later file"
    ),
    rf"ALTER TABLE {_TABLE} .*?SET (?:LOGGED|UNLOGGED|TABLESPACE|ACCESS METHOD)": (
        "the table is written anew"
    ),
    rf"(?:CLUSTER|VACUUM FULL|LOCK TABLE|LOCK|REINDEX TABLE) {_TABLE}": "nobody can work meanwhile",
    rf"REFRESH MATERIALIZED VIEW (?!CONCURRENTLY){_TABLE}": "nobody can read meanwhile",
}


def statements(sql: str) -> list[str]:
    """The statements of a file without comments, bodies of functions and literals."""
    bare = re.sub(r"\$(\w*)\$.*?\$\1\$", "$$", sql, flags=re.DOTALL)
    bare = re.sub(r"--[^\n]*", "", bare)
    bare = re.sub(r"'(?:[^']|'')*'", "''", bare)
    return [" ".join(one.split()) for one in bare.split(";") if one.strip()]


def waits_of(sql: str) -> list[str]:
    """What of a file keeps others waiting for as long as a table is large."""
    said = SMALL.search(sql)
    free = set(said[1].split(", ")) if said else set()
    found = []
    for one in statements(sql):
        if made := re.match(rf"CREATE (?:UNLOGGED )?TABLE {_TABLE}", one, re.IGNORECASE):
            free.add(made["table"].lower())
        for form, why in WAITS.items():
            match = re.match(form, one, re.IGNORECASE)
            if match and match["table"].lower() not in free:
                found.append(f"{one[:90]}: {why}")
    if any("CONCURRENTLY" in one.upper() for one in statements(sql)):
        found += [
            f"{one[:90]}: beside CONCURRENTLY there is nothing else in a file"
            for one in statements(sql)
            if not re.match(r"CREATE (?:UNIQUE )?INDEX CONCURRENTLY \w+ ON ", one)
        ]
    return found


@pytest.mark.parametrize("service", BEFORE)
def test_a_new_migration_keeps_nobody_waiting(service: str) -> None:
    folder = ROOT / "services" / service / "src" / f"darkroom_{service}" / "migrations"
    found = {
        path.name: waits
        for path in sorted(folder.glob("*.sql"))
        if int(path.name[:4]) > BEFORE[service] and (waits := waits_of(path.read_text()))
    }
    assert found == {}, "docs/upgrading.md says how, and what a small table may do"


@pytest.mark.parametrize(
    "waits",
    [
        "CREATE INDEX i ON study (a);",
        "CREATE UNIQUE INDEX IF NOT EXISTS i ON index.study (a);",
        "UPDATE study SET a = 1;",
        "DELETE FROM study WHERE a = 1;",
        "ALTER TABLE study ALTER COLUMN a TYPE bigint;",
        "ALTER TABLE study\n    ADD COLUMN b int, ALTER a SET NOT NULL;",
        "ALTER TABLE study ADD COLUMN a uuid DEFAULT gen_random_uuid();",
        "ALTER TABLE study ADD a bigint GENERATED ALWAYS AS IDENTITY;",
        "ALTER TABLE study ADD CONSTRAINT c CHECK (a > 0);",
        "ALTER TABLE study ADD CONSTRAINT c UNIQUE (a);",
        "ALTER TABLE study ADD FOREIGN KEY (a) REFERENCES b;",
        "VACUUM FULL study;",
        "LOCK TABLE study;",
        "CREATE INDEX CONCURRENTLY i ON study (a); ALTER TABLE study ADD COLUMN b int;",
        "CREATE TABLE other (a int); CREATE INDEX i ON study (a);",
        "-- few rows: other.\nUPDATE study SET a = 1;",
    ],
)
def test_what_waits_is_seen(waits: str) -> None:
    assert waits_of(waits)


@pytest.mark.parametrize(
    "quick",
    [
        "CREATE TABLE study (a int); CREATE INDEX i ON study (a); UPDATE study SET a = 1;",
        "CREATE INDEX CONCURRENTLY i ON study (a);",
        "ALTER TABLE study ADD COLUMN a int NOT NULL DEFAULT 0;",
        "ALTER TABLE study ADD COLUMN a timestamptz NOT NULL DEFAULT now();",
        "ALTER TABLE study ADD CONSTRAINT c CHECK (a > 0) NOT VALID;",
        "ALTER TABLE study VALIDATE CONSTRAINT c;",
        "ALTER TABLE study ADD CONSTRAINT c UNIQUE USING INDEX i;",
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ UPDATE study SET a = 1; $$;",
        "-- UPDATE study SET a = 1;\nDROP INDEX i;",
        "-- few rows: printer, printer_rule.\nUPDATE printer SET a = 1;",
    ],
)
def test_what_does_not_wait_is_let_through(quick: str) -> None:
    assert waits_of(quick) == []


def test_the_rule_would_have_seen_the_migration_that_held_up_the_listing() -> None:
    """0018 of schema `index` locks it for 47 s at a million studies; no test may miss that form."""
    path = "services/metadata/src/darkroom_metadata/migrations/0018_pre_orders.sql"
    seen = " ".join(waits_of((ROOT / path).read_text()))
    assert "UPDATE listing" in seen
    assert "CREATE INDEX listing_ordered" in seen
