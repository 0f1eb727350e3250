"""What `darkroom up` and `darkroom status` show: a live table on a terminal, lines elsewhere."""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from darkroom_common.clock import utc_now, wall_seconds
from darkroom_local.stack.state import ProcessState, memory_bytes

_REFRESH_SECONDS: Final = 0.5
_COLOURS: Final = {"ready": "green", "running": "yellow", "starting": "yellow", "restarting": "red"}


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
        uptime = timedelta(seconds=max(0, int(wall_seconds() - one.since))) if one.pid else ""
        memory = memory_bytes(one.pid) >> 20
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


class SteadyConsole(Console):
    """A console whose reader may leave: rich would end the process, we go on in silence."""

    def on_broken_pipe(self) -> None:
        """Write to nowhere from now on, also what is still buffered."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)


class View:
    """Where the stack reports to. `look` returns the processes as they are now.

    A terminal or pipe that has gone away must not keep the stack from its work or from stopping
    in order: from then on nothing is shown, and the logs say the rest.
    """

    def __init__(self, console: SteadyConsole, look: Callable[[], list[ProcessState]]) -> None:
        self._console = console
        self._look = look
        self._gone = False

    @property
    def is_terminal(self) -> bool:
        """Whether somebody sits there: what is shown goes into no file."""
        return self._console.is_terminal

    def say(self, text: str) -> None:
        """Print a line: on a terminal above the table, elsewhere with the time."""
        if self._console.is_terminal:
            self.banner([text])
        else:
            self.banner([f"{utc_now():%Y-%m-%dT%H:%M:%SZ} {text}"])

    def banner(self, lines: Iterable[str]) -> None:
        """Print lines for people and scripts as they are."""
        with self._while_there():
            for line in lines:
                self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def changed(self, one: ProcessState) -> None:
        """Report a change: on a terminal, where the table shows it, only a worrying one."""
        if one.state == "starting" or (self._console.is_terminal and one.state != "restarting"):
            return
        state = "ready" if one.ready else one.state
        pid = f" (pid {one.pid})" if one.pid else ""
        reason = f": {one.reason}" if one.reason else ""
        self.say(f"{one.name} {state}{pid}{reason}")

    async def refresh(self) -> None:
        """Keep the table up to date until cancelled; does nothing when not on a terminal."""
        if not self._console.is_terminal:
            return
        with (
            self._while_there(),
            Live(table(self._look()), console=self._console, auto_refresh=False) as live,
        ):
            while not self._gone:
                await asyncio.sleep(_REFRESH_SECONDS)
                live.update(table(self._look()), refresh=True)

    @contextmanager
    def _while_there(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            self._gone = self._console.quiet = True
