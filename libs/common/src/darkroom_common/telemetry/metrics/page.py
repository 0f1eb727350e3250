"""Writes docs/metrics.md from the table: `make metrics`."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from darkroom_common.telemetry.metrics import rows
from darkroom_common.telemetry.metrics.rows import SERVICES, Label, Row

_HEAD: Final = """# Metrics

Made by `make metrics` from the table in `libs/common/src/darkroom_common/telemetry/metrics/`; do
not edit.

A service shows the rows that name it under `/metrics` of its health port, and the numbers of its
process that prometheus-client adds (`process_*`, `python_*`). Nothing else is registered. Labels
are of closed sets or of names that administrators have given: never a value that was received,
never a UID, and no name of a patient.

*Classic*: what others call the same. Those names come from
[recording rules](../infra/helm/darkroom/files/recording.yaml), not from the services: a name that
has no prefix would clash with that of another program, and who does not want them does not load
the file.
"""


def _label(label: Label) -> str:
    return f"`{label.name}`: {', '.join(label.values) or label.bound}"


def _row(row: Row) -> str:
    labels = "<br>".join(_label(label) for label in row.labels)
    classic = f"`{row.classic}`" if row.classic else ""
    return f"| `{row.name}` | {row.kind} | {row.unit} | {row.text} | {labels} | {classic} |"


def _chapter(title: str, of: Iterable[Row]) -> str:
    head = "| name | type | unit | what | labels | classic |\n|---|---|---|---|---|---|"
    return "\n".join([f"\n## {title}\n", head, *(_row(row) for row in of)])


def render() -> str:
    """Return the page."""
    shown: dict[tuple[str, ...], list[Row]] = {}
    for row in rows().values():
        shown.setdefault(row.services, []).append(row)
    order = sorted(shown, key=lambda services: (-len(services), SERVICES.index(services[0])))
    chapters = [
        _chapter("Every service" if one == SERVICES else ", ".join(one), shown[one])
        for one in order
    ]
    return _HEAD + "\n".join(chapters) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render(), encoding="utf-8")
