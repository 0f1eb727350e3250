"""What pages show of a command is what it says: the same words, with other numbers."""

import re
from pathlib import Path
from typing import Final

from tests.support.deployed import ROOT

DOCS: Final = ROOT / "docs"
_NUMBER: Final = re.compile(r"\d+(?:[.,:]\d+)*")


def form(line: str) -> str:
    """Return a line without its numbers, UIDs, dates and times."""
    return _NUMBER.sub("0", line.rstrip())


def shown(page: str, command: str) -> list[str]:
    """Return what a page shows after `$ command`, a line each.

    Raises:
        LookupError: it does not show the command.
    """
    lines = (DOCS / Path(page)).read_text().splitlines()
    for number, line in enumerate(lines):
        if line.strip().startswith(f"$ {command}"):
            indent = len(line) - len(line.lstrip())
            rest = [one[indent:] for one in lines[number + 1 :]]
            ends = next(at for at, one in enumerate(rest) if one.startswith(("$ ", "```")))
            return rest[:ends]
    raise LookupError(f"{page} does not show {command}")


def require_shown(said: str, page: str, command: str) -> None:
    """See that the last line of what a command says is shown by a page, numbers apart."""
    expected = form(shown(page, command)[-1])
    assert form(said.strip().splitlines()[-1]) == expected, f"{page}: {command}"


def example_after(page: str, text: str) -> str:
    """Return the block of code that follows the one with a text."""
    behind = (DOCS / Path(page)).read_text().partition(text)[2]
    assert behind, f"{page} has no {text}"
    found = re.search(r"\n```\n+```\w*\n(.*?)\n```", behind, re.DOTALL)
    assert found is not None, f"{page} has nothing behind {text}"
    return found[1]
