"""`darkroom verify`: has metadata compare index and store, and shows how that goes.

The work is metadata's, which owns the index: it runs as a child, `python -m darkroom_metadata
verify`, with that service's role and settings, and tells JSON lines.
"""

import json
from pathlib import Path
from typing import Final, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from darkroom_local.commands.child import Line, child, lines_of
from darkroom_local.engines.process import tail
from darkroom_local.stack.plan import Plan
from darkroom_local.stack.state import StackState

COULD_NOT_RUN: Final = 2
_TITLES: Final = {
    "contents": "reading objects back",
    "slow": "reading objects of the slow store back",
    "replica": "reading objects of the second store back",
    "rows": "looking for the object of each row",
    "objects": "looking for the row of each object",
}


_BY_BYTES: Final = ("contents", "slow")


class VerifyError(RuntimeError):
    """Verification could not run, or not to its end; the text says why."""


async def run(data: Path, arguments: list[str], *, as_json: bool, console: Console) -> int:
    """Verify the running stack of a data directory; return the exit code.

    Raises:
        VerifyError: it does not run here, or verification failed.
    """
    if StackState.read(data / "run" / "state.json") is None:
        raise VerifyError(f"Darkroom does not run in {data}: start it with darkroom up")
    command = Plan.of_running(data).verification(arguments)
    shown: Shown = Plain(console) if as_json or not console.is_terminal else Live(console)
    summary: Line | None = None
    with shown:
        async with child(command) as process:
            async for line in lines_of(process):
                if as_json:
                    console.out(json.dumps(line), highlight=False)
                else:
                    shown.show(line)
                summary = line if line["event"] == "summary" else summary
            code = await process.wait()
    if summary is None or code not in (0, 1):
        raise VerifyError(f"verification ended with code {code}:\n{tail(command.log, 3)}")
    if not as_json:
        console.print(_table(shown.finished))
        console.print(_verdict(summary), markup=False, highlight=False)
    return code


class Shown:
    """What a person sees while it goes on."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.finished: list[Line] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, line: Line) -> None:
        """Show one line of the child."""
        match line["event"]:
            case "finished":
                self.finished.append(line)
            case "finding":
                self.say(_finding(line))
            case "waiting":
                self.say(f"waiting: {line['reason']}")
            case "passed-over":
                self.say(f"the slow store is not read: {line['reason']}")

    def say(self, text: str) -> None:
        """Print a line as it is."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class Plain(Shown):
    """Lines, for a log or a pipe."""

    def show(self, line: Line) -> None:
        """Also tell when a check begins and ends."""
        super().show(line)
        if line["event"] == "started":
            more = f", {line['checked']} done before" if line["checked"] else ""
            self.say(f"{_TITLES[line['check']]}: about {line['objects']} to do{more}")
        elif line["event"] == "finished":
            self.say(f"{_TITLES[line['check']]}: {line['checked']} done")


class Live(Shown):
    """Bars, for a terminal."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._objects = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._bytes = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._progress = self._objects
        self._task: TaskID | None = None
        self._before = 0

    def __exit__(self, *_: object) -> None:
        """Leave the bars as they are now."""
        self._progress.stop()

    def show(self, line: Line) -> None:
        """Move the bar of the check that is at work."""
        match line["event"]:
            case "started":
                by_bytes = line["check"] in _BY_BYTES
                self._progress.stop()
                self._progress = self._bytes if by_bytes else self._objects
                self._before = line["bytes" if by_bytes else "checked"]
                total = line["total_bytes" if by_bytes else "objects"]
                self._progress.start()
                self._task = self._progress.add_task(escape(_TITLES[line["check"]]), total=total)
            case "progress" | "finished" if self._task is not None:
                done = line["bytes" if line["check"] in _BY_BYTES else "checked"] - self._before
                if line["event"] == "finished":
                    self._progress.update(self._task, completed=done, total=done)
                else:
                    self._progress.update(self._task, completed=done)
        super().show(line)


def _finding(line: Line) -> str:
    named = f" receipt {line['receipt']}" if line["receipt"] else ""
    return f"{line['kind']}: {line['object_key']}{named}"


def _table(finished: list[Line]) -> Table:
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    drawn.add_column("check")
    for title in ("looked at", "MB read", "findings", "seconds"):
        drawn.add_column(title, justify="right")
    for line in finished:
        drawn.add_row(
            _TITLES[line["check"]],
            str(line["checked"]),
            f"{line['bytes'] / 1e6:.1f}",
            str(line["findings"]),
            f"{line['seconds']:.1f}",
        )
    return drawn


def _verdict(summary: Line) -> str:
    found: dict[str, int] = summary["open"]
    if not found:
        return "all well"
    told = ", ".join(f"{number} {kind}" for kind, number in sorted(found.items()))
    return f"open findings: {told}; what to do: docs/operations.md, Integrity"
