"""The results of `make chaos` as docs/chaos.md: each row says when it was run, and how often."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "chaos.md"
_HEAD = """# Faults, injected

Written by `make chaos`: real processes, killed, stopped, starved and cut off while senders are at
work. The faults are those of `design/reliability.md`. *Objects* were answered with 0x0000 and are
the sender's ledger; *lost*: one of them is absent or altered in store or index; *doubled*: more
than one row or object. F3: *objects* were to be sent; what a destination got twice, because the
kill was between its storing and our writing that down, is under *observed*. F4: *objects* are
films, with those after an operator's word. A row that failed is not written: its test fails.
Rounds by `DARKROOM_CHAOS_ROUNDS`; a row keeps the figures of its last run.

| fault | what was done | rounds | objects | lost | doubled | told by | observed | run |
|---|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Row:
    """One fault and what came of it. It is made after the checks have passed."""

    fault: str
    what: str
    rounds: int
    objects: int
    told: str
    observed: str

    def render(self) -> str:
        """Return the line of the table."""
        cells = (
            self.fault,
            self.what,
            self.rounds,
            self.objects,
            0,
            0,
            self.told,
            self.observed,
            f"{datetime.now(UTC):%Y-%m-%d}",
        )
        return f"| {' | '.join(str(cell) for cell in cells)} |"


@dataclass
class Report:
    """The rows of this run."""

    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Take a row, and show it."""
        self.rows.append(row)
        print(f"\n{row.render()}", flush=True)

    def write(self) -> None:
        """Show all rows, and put them into the page in place of those of earlier runs."""
        kept: dict[tuple[str, str], str] = {}
        if PAGE.exists():
            for line in PAGE.read_text(encoding="utf-8").splitlines():
                if line.startswith("| ") and not line.startswith("| fault "):
                    fault, what = line.split(" | ")[:2]
                    kept[fault.removeprefix("| "), what] = line
        kept |= {(row.fault, row.what): row.render() for row in self.rows}
        ordered = sorted(kept.items(), key=lambda item: _place(*item[0]))
        PAGE.write_text(_HEAD + "".join(f"{line}\n" for _, line in ordered), encoding="utf-8")
        print("\n".join(["", *(row.render() for row in self.rows)]))


def _place(fault: str, what: str) -> tuple[int, str]:
    number = fault.removeprefix("F")
    return int(number) if number.isdigit() else 100, what
