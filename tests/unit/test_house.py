"""The numbers of the house: how large its rooms are, and how often a rule is set aside."""

import ast
import re
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
MOST_FILES_OF_A_FOLDER: Final = 16
MOST_LINES_OF_A_FILE: Final = 400
MOST_FMT_SKIP: Final = 40
MOST_NOQA: Final = 60
MOST_SLEEPS: Final = 40
OF_MESSAGES: Final = "libs/common/src/darkroom_common/dimse/wire/data_set.py"
"""Reads identifiers, which come in messages and are not stored."""
THE_CLOCK: Final = "libs/common/src/darkroom_common/clock.py"
FOR_ANOTHER_COMMIT: Final = "tests/fixtures/before_one_house/"
"""Runs in the house as it was, and stays as it was run."""
TIME: Final = frozenset(
    {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "time", "time_ns"}
    | {"process_time", "gmtime", "localtime"}
)
NOW: Final = frozenset({"now", "utcnow", "today"})


def files(*folders: str) -> dict[str, str]:
    """The Python files of some folders, by their path from the root."""
    found = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    }
    assert found, folders
    return found


SOURCES: Final = ("libs", "services", "infra")


def test_no_folder_has_too_many_files() -> None:
    counted = Counter(
        name.rpartition("/")[0] for name in files(*SOURCES) if not name.endswith("/__init__.py")
    )
    assert {name: n for name, n in counted.items() if n > MOST_FILES_OF_A_FOLDER} == {}


def test_no_file_is_too_long() -> None:
    lengths = {
        name: text.count("\n")
        for name, text in files(*SOURCES, "tests").items()
        if not name.startswith(FOR_ANOTHER_COMMIT)
    }
    assert {name: n for name, n in lengths.items() if n > MOST_LINES_OF_A_FILE} == {}


@pytest.mark.parametrize(
    ("pattern", "folders", "most"),
    [
        (r"# fmt: skip", (*SOURCES, "tests"), MOST_FMT_SKIP),
        (r"# noqa", (*SOURCES, "tests"), MOST_NOQA),
        (r"\bsleep\(", ("tests",), MOST_SLEEPS),
    ],
)
def test_a_rule_is_set_aside_seldom(pattern: str, folders: tuple[str, ...], most: int) -> None:
    mine = Path(__file__).relative_to(ROOT).as_posix()
    counted = {
        name: sum(1 for line in text.splitlines() if re.search(pattern, line))
        for name, text in files(*folders).items()
        if name != mine
    }
    assert sum(counted.values()) <= most, {name: n for name, n in counted.items() if n}


def test_stored_bytes_have_one_reader() -> None:
    """It is `darkroom_common.dicom.stored`: nobody else parses files or data sets."""
    found = {
        name
        for name, text in files(*SOURCES).items()
        if re.search(r"\bdcmread\b|\bpydicom\.filereader\b|\bread_partial\b", text)
    }
    assert found == {OF_MESSAGES}


def times_taken(source: str) -> list[int]:
    """The lines of a file that take the time, or import what takes it."""
    taken = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="time"), attr=name) if name in TIME:
                taken.append(node.lineno)
            case ast.ImportFrom(module="time", names=names) if TIME & {n.name for n in names}:
                taken.append(node.lineno)
            case ast.Attribute(value=owner, attr=name) if name in NOW and _is_a_date(owner):
                taken.append(node.lineno)
    return sorted(taken)


def _is_a_date(node: ast.expr) -> bool:
    return ast.unparse(node).rpartition(".")[2] in {"datetime", "date"}


def test_the_time_is_taken_in_one_place() -> None:
    found = {
        f"{name}:{line}"
        for name, text in files(*SOURCES).items()
        if name != THE_CLOCK
        for line in times_taken(text)
    }
    assert found == set()


@pytest.mark.parametrize(
    "line",
    [
        "import time; time.monotonic()",
        "f(key=time.time)",
        "from time import perf_counter",
        "from datetime import datetime, UTC; datetime.now(UTC)",
        "import datetime as dt; dt.datetime.now(dt.UTC)",
        "datetime.date.today()",
        "datetime.utcnow",
    ],
)
def test_every_way_to_take_the_time_is_seen(line: str) -> None:
    assert times_taken(line) == [1]


def test_what_takes_no_time_is_not_seen() -> None:
    assert times_taken("import time; time.sleep(1); clock.now(); sql('now()'); dt.time.min") == []
