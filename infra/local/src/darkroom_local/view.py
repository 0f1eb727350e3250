"""What `darkroom up` and `darkroom status` show: a live table on a terminal, lines elsewhere."""

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from darkroom_local.state import ProcessState, resident_bytes

_COLOURS = {"ready": "green", "running": "yellow", "starting": "yellow", "restarting": "red"}


def table(processes: Iterable[ProcessState]) -> Table:
    """Draw the processes."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for title, side in (
        ("process", "left"),
        ("pid", "right"),
        ("state", "left"),
        ("uptime", "right"),
        ("restarts", "right"),
        ("memory", "right"),
        ("", "left"),
    ):
        drawn.add_column(title, justify="right" if side == "right" else "left")
    for one in processes:
        state = "ready" if one.ready else one.state
        uptime = timedelta(seconds=max(0, int(time.time() - one.since))) if one.pid else ""
        memory = resident_bytes(one.pid) >> 20
        drawn.add_row(
            one.name,
            str(one.pid or ""),
            f"[{_COLOURS.get(state, 'dim')}]{state}[/]",
            str(uptime),
            str(one.restarts or ""),
            f"{memory} MB" if memory else "",
            escape(one.reason),
        )
    return drawn


class View:
    """Where the stack reports to. `look` returns the processes as they are now."""

    def __init__(self, console: Console, look: Callable[[], list[ProcessState]]) -> None:
        self._console = console
        self._look = look
        self._live: Live | None = None

    def say(self, text: str) -> None:
        """Print a line: on a terminal above the table, elsewhere with the time."""
        if self._console.is_terminal:
            self._console.print(text, markup=False, highlight=False)
        else:
            stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            self._console.print(f"{stamp} {text}", markup=False, highlight=False, soft_wrap=True)

    def banner(self, lines: Iterable[str]) -> None:
        """Print lines for people and scripts as they are."""
        for line in lines:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def changed(self, one: ProcessState) -> None:
        """Report a change: every one elsewhere, on a terminal the worrying ones."""
        if self._console.is_terminal and one.state != "restarting":
            return
        state = "ready" if one.ready else one.state
        pid = f" (pid {one.pid})" if one.pid else ""
        reason = f": {one.reason}" if one.reason else ""
        self.say(f"{one.name} {state}{pid}{reason}")

    async def refresh(self) -> None:
        """Keep the table up to date until cancelled; does nothing when not on a terminal."""
        if not self._console.is_terminal:
            await asyncio.Event().wait()
        with Live(table(self._look()), console=self._console, auto_refresh=False) as live:
            while True:
                await asyncio.sleep(0.5)
                live.update(table(self._look()), refresh=True)
