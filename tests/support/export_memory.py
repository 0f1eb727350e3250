"""`python -m tests.support.export_memory <format> <rows>`: what making an export takes of memory.

Prints the most bytes that the process had for itself, looked at again and again.
"""

import datetime as dt
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

from darkroom_api.exports.columns import COLUMNS, DEFAULT
from darkroom_api.exports.formats import ListFormat, writer
from darkroom_api.exports.table import Row, Table, Value

MODULE: Final = "darkroom_api.exports.worker"
LOOK_EVERY: Final = 2000
"""Rows between two looks."""
_MADE_AT: Final = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


def private_bytes(process: int | str = "self") -> int:
    """Return what a process has for itself, in bytes."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))


def rows(number: int, looks: list[int]) -> Iterator[Row]:
    """Yield rows of which no two are the same."""
    for n in range(number):
        if n % LOOK_EVERY == 0:
            looks.append(private_bytes())
        values: dict[str, Value] = {
            "text": f"Name {n * 7919 % 1_000_003}^Given {n * 104_729 % 999_983}",
            "number": n,
            "date": _MADE_AT.date(),
            "moment": _MADE_AT,
        }
        yield [values[COLUMNS[name].kind] for name in DEFAULT]


def main(name: ListFormat, number: int) -> int:
    """Make a file and forget it; return the most memory."""
    looks: list[int] = []
    columns = [COLUMNS[one] for one in DEFAULT]
    table = Table("Studies", columns, number, rows(number, looks), _MADE_AT, "somebody")
    for piece in writer(name)(table):
        assert piece is not None
    looks.append(private_bytes())
    return max(looks)


if __name__ == "__main__":
    importlib.import_module(MODULE)  # all that the process has loaded
    wanted = next(name for name in get_args(ListFormat) if name == sys.argv[1])
    sys.stdout.write(f"{main(wanted, int(sys.argv[2]))}\n")
