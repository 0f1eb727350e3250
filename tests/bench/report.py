"""The figures of one run, as docs/benchmarks.md. No figure is asserted: a machine decides them."""

import os
import statistics
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
QUICK = bool(os.environ.get("BENCH_QUICK"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "1" if QUICK else "5"))


@dataclass
class Table:
    """One comparison: who, in which setting, how often how much."""

    title: str
    unit: str
    against: str
    """The column's figures are given as ratios to this row."""
    figures: defaultdict[str, defaultdict[str, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def add(self, who: str, setting: str, figure: float) -> None:
        """Take one measurement."""
        self.figures[who][setting].append(figure)
        print(f"{self.title}: {who}, {setting}: {figure:.1f} {self.unit}")  # noqa: T201 - progress

    def render(self) -> str:
        """Return the table: medians, and how many times the row that is compared against."""
        settings = sorted({s for row in self.figures.values() for s in row})
        lines = [f"### {self.title}", "", f"| {self.unit} | {' | '.join(settings)} |"]
        lines.append("|---" * (len(settings) + 1) + "|")
        for who, row in self.figures.items():
            cells = []
            for setting in settings:
                if setting not in row:
                    cells.append("")
                    continue
                median = statistics.median(row[setting])
                base = self.figures[self.against][setting]
                ratio = f" ({median / statistics.median(base):.2f} x)" if base else ""
                cells.append(f"{median:.0f}{ratio}")
            lines.append(f"| {who} | {' | '.join(cells)} |")
        return "\n".join(lines) + "\n"


def machine() -> str:
    """Return what the figures depend on, in general terms."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return f"{os.cpu_count()} cores, {memory:.0f} GiB of memory, all on loopback and one disk"


def write(tables: list[Table]) -> None:
    """Replace the page, unless this was a quick check."""
    body = "\n".join(table.render() for table in tables)
    page = (
        "# Measurements\n\n"
        f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}: {machine()}; "
        f"medians of {ROUNDS} interleaved rounds.\nAbsolute figures move from day to day; the "
        "ratios in one run are what counts.\n\n"
        "*Best*: `TCP_NODELAY=1` on both ends, a thread for each association in Orthanc. "
        "*As shipped*: Debian's\nsettings. Darkroom runs with one setting: fsync before each "
        "answer, all checks and limits, relay and\nRabbitMQ at work beside it. Senders are "
        "DCMTK's storescu, one process an association, on the same cores.\n\n"
        f"{body}"
    )
    if QUICK:
        print(page)  # noqa: T201 - a check shows what it would write
    else:
        PAGE.write_text(page, encoding="utf-8")
