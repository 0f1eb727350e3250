"""What docs/field-cases.md names is there: a page that promises tests has them."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "field-cases.md"
_NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def test_the_tests_that_the_page_names_are_there() -> None:
    named = _NAMED.findall(PAGE.read_text(encoding="utf-8"))
    assert len(named) > 40
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (TESTS / file).is_file()
        or not re.search(rf"def {name}\(", (TESTS / file).read_text(encoding="utf-8"))
    ]
    assert missing == []


def test_every_row_of_the_page_names_a_test() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| ") and not line.startswith("| kind")]
    assert [row for row in rows if not _NAMED.search(row)] == []
