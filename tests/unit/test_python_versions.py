"""What the oldest supported Python (3.11.2, Debian 12) does otherwise than the one that tests."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = [path for folder in ("libs", "services", "infra") for path in (ROOT / folder).rglob("*.py")]
STARRED = re.compile(r"\bexcept\s*\*")


def raised_inside(text: str) -> list[int]:
    """Return the lines of each `raise` in an `except*`; files without one are not parsed."""
    if STARRED.search(text) is None:
        return []
    return [
        inner.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.TryStar)
        for handler in node.handlers
        for inner in ast.walk(handler)
        if isinstance(inner, ast.Raise)
    ]


def test_nothing_is_raised_inside_except_star() -> None:
    """Before Python 3.11.4 it comes out as an ExceptionGroup, which no plain `except` catches."""
    told = {str(path.relative_to(ROOT)): raised_inside(path.read_text("utf-8")) for path in FILES}
    assert len(told) > 800
    assert {path: lines for path, lines in told.items() if lines} == {}


def test_it_would_be_found() -> None:
    wrong = "try:\n    pass\nexcept *OSError as error:\n    if error:\n        raise\n"
    assert raised_inside(wrong) == [5]
    assert raised_inside(wrong.replace("raise", "pass")) == []
    assert raised_inside(wrong.replace(" *", " ")) == []
