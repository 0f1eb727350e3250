"""The numbers of the house: how large its rooms are, and how often a rule is set aside."""

import re
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
MOST_FILES_OF_A_FOLDER: Final = 16
MOST_FMT_SKIP: Final = 40
MOST_NOQA: Final = 60
MOST_SLEEPS: Final = 40


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
