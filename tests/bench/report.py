"""The figures of one run, as docs/benchmarks.md. No figure is asserted: a machine decides them."""

import os
import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
QUICK = bool(os.environ.get("BENCH_QUICK"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "1" if QUICK else "5"))


_INTRODUCTION = (
    "# Measurements\n\nWritten by `make bench`, each section by its file in `tests/bench`.\n"
    "Absolute figures move from day to day; the ratios in one run are what counts.\n"
)


@dataclass
class Table:
    """One comparison: who, in which setting, how often how much."""

    title: str
    unit: str
    against: str = ""
    """The column's figures are given as ratios to this row, if any."""
    figures: defaultdict[str, defaultdict[str, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, who: str, setting: str, figure: float) -> None:
        """Take one measurement."""
        self.figures[who][setting].append(figure)
        print(f"{self.title}: {who}, {setting}: {figure:.1f} {self.unit}")

    def leave_out(self, who: str, why: str) -> None:
        """Take no measurement: a peer has failed in this round."""
        self.left_out[who] += 1
        print(f"{self.title}: {who}: {why}")

    def render(self) -> str:
        """Return the table: medians, and how many times the row that is compared against."""
        settings = list(dict.fromkeys(s for row in self.figures.values() for s in row))
        day = f"{datetime.now(UTC):%Y-%m-%d}"
        lines = [f"### {self.title}", "", day, "", f"| {self.unit} | {' | '.join(settings)} |"]
        lines.append("|---" * (len(settings) + 1) + "|")
        for who, row in self.figures.items():
            cells = []
            for setting in settings:
                if setting not in row:
                    cells.append("")
                    continue
                median = statistics.median(row[setting])
                base = self.figures[self.against][setting] if self.against else []
                ratio = f" ({median / statistics.median(base):.2f} x)" if base else ""
                cells.append(f"{median:.3g}{ratio}" if median < 100 else f"{median:.0f}{ratio}")
            lines.append(f"| {who} | {' | '.join(cells)} |")
        for who, times in self.left_out.items():
            lines += ["", f"{who}: a sender failed in {times} rounds, which are left out."]
        return "\n".join(lines) + "\n"


def machine() -> str:
    """Return what the figures depend on, in general terms."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return f"{os.cpu_count()} cores, {memory:.0f} GiB of memory, all on loopback and one disk"


def write(section: str, note: str, tables: list[Table]) -> None:
    """Replace tables of one section of the page, unless this was a quick check.

    Those that were not measured this time stay, with their day.

    Args:
        section: its title.
        note: what was run, and how.
        tables: the figures.
    """
    measured = {table.title: table.render() for table in tables if table.figures}
    text = f"## {section}\n\n{machine()}. {note}\n\n"
    if QUICK:
        print(text, *measured.values())
        return
    kept = PAGE.read_text(encoding="utf-8").split("\n## ")[1:] if PAGE.exists() else []
    sections = {one.partition("\n")[0]: f"## {one.rstrip()}\n" for one in kept}
    earlier = sections.get(section, "").split("\n### ")[1:]
    kept_tables = {one.partition("\n")[0]: f"### {one.rstrip()}\n" for one in earlier}
    sections[section] = text + "\n".join((kept_tables | measured).values())
    PAGE.write_text(
        _INTRODUCTION + "".join(f"\n{sections[title]}" for title in sorted(sections)),
        encoding="utf-8",
    )
