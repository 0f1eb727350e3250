"""What `make mutants` keeps: a row for each module, and no word of what was not decided."""

import pytest

from tests.mutants.equivalent import EQUIVALENT, table, without_equivalents
from tests.mutants.operators import mutants
from tests.mutants.page import (
    BEGIN,
    END,
    NOT_DRAWN,
    named,
    page_with,
    page_with_not_drawn,
    score,
    survivors,
)
from tests.mutants.running import CAUGHT, ROOT, SURVIVED, TIMED_OUT, Verdict

PAGE = f"before\n{BEGIN}| module | caught | survivors |\n|---|---|---|\n{{}}{END}after\n"
KEPT = "| `b.py` | 1 of 1 |  |\n"


def verdicts(*results: str) -> list[Verdict]:
    return [
        Verdict(f"a.py:{n} f: SQL: `x` | y -> z", one, 1.0, "") for n, one in enumerate(results)
    ]


def test_what_ran_out_of_time_counts_neither_way() -> None:
    assert score(verdicts(CAUGHT, SURVIVED, TIMED_OUT, CAUGHT)) == (2, 3)


def test_a_module_gets_its_row_and_the_others_stay() -> None:
    old = "| `a.py` | 9 of 9 |  |\n"
    found = page_with(PAGE.format(old + KEPT), {"a.py": verdicts(CAUGHT, SURVIVED, TIMED_OUT)})
    row = "| `a.py` | 1 of 2, 1 not decided | `1 f: SQL: x \u00a6 y -> z` |\n"
    assert found == PAGE.format(row + KEPT + "\nIn all 2 of 3 are caught: 66.7%.\n")
    assert survivors(found, "a.py") == (1, {"1 f: SQL: x \u00a6 y -> z"})
    assert survivors(found, "b.py") == (1, set())
    assert survivors(found, "c.py") == (0, set())
    assert named("a.py:1 f: SQL: `x` | y -> z", "a.py") in survivors(found, "a.py")[1]


def test_a_module_whose_own_tests_failed_keeps_its_row() -> None:
    share = "\nIn all 1 of 1 are caught: 100.0%.\n"
    assert page_with(PAGE.format(KEPT), {"b.py": []}) == PAGE.format(KEPT + share)
    assert page_with(PAGE.format(KEPT + share), {"b.py": []}) == PAGE.format(KEPT + share)


def test_a_page_without_its_marks_is_an_error() -> None:
    with pytest.raises(ValueError, match="marks"):
        page_with("nothing", {})
    with pytest.raises(ValueError, match="marks"):
        page_with_not_drawn("nothing", "")


def test_the_page_has_what_is_not_drawn() -> None:
    page = f"a\n{NOT_DRAWN}old\n{END}b\n"
    assert page_with_not_drawn(page, table()) == f"a\n{NOT_DRAWN}{table()}{END}b\n"
    written = (ROOT / "docs/mutants.md").read_text(encoding="utf-8")
    assert page_with_not_drawn(written, table()) == written


@pytest.mark.parametrize("path", sorted({one.path for one in EQUIVALENT}))
def test_what_is_said_to_change_nothing_is_there(path: str) -> None:
    """A line that has changed is asked again."""
    source = (ROOT / path).read_bytes()
    lines = [line.strip() for line in source.decode().splitlines()]
    listed = [one for one in EQUIVALENT if one.path == path]
    assert all(one.line in lines and one.why for one in listed)
    drawn = mutants(path, source)
    assert len(drawn) - len(without_equivalents(source, drawn)) >= len(listed)
