"""What the oldest supported Python (3.11.2, Debian 12) does otherwise than the one that tests."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path for folder in ("libs", "services", "infra") for path in (ROOT / folder).rglob("*.py")
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_raised_inside_except_star(path: Path) -> None:
    """Before Python 3.11.4 it comes out as an ExceptionGroup, which no plain `except` catches."""
    raised = [
        inner.lineno
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.TryStar)
        for handler in node.handlers
        for inner in ast.walk(handler)
        if isinstance(inner, ast.Raise)
    ]
    assert raised == []
