"""`darkroom status` and `darkroom queues`: what the running stack says, once or again and again."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from darkroom_local.commands.overview import LOW, Jobs, Overview, Queue, as_json, look
from darkroom_local.stack.state import StackState
from darkroom_local.stack.view import table

EVERY_SECONDS: Final = 2.0
_GIB: Final = 1 << 30
_BAR: Final = 24


def drawn(state: StackState, now: Overview, peaks: Mapping[str, int] | None = None) -> Group:
    """Draw all of it.

    Args:
        state: what runs.
        now: how it is.
        peaks: the most that has waited in each queue since somebody looks.
    """
    line = f"DICOM {state.ae_title} port {state.dicom_port} · {state.base_url} · pid {state.pid}"
    parts: list[RenderableType] = [table(now.processes), escape(line)]
    busy = {name: one for name, one in now.queues.items() if one.depth or (peaks or {}).get(name)}
    if busy:
        parts += ["", queue_table(busy, peaks or {})]
    if now.jobs:
        parts += ["", _jobs(now.jobs)]
    parts += ["", _volumes(now)]
    parts += [f"[yellow]! {escape(one)}[/]" for one in now.warnings]
    return Group(*parts)


def queue_table(queues: Mapping[str, Queue], peaks: Mapping[str, int]) -> Table:
    """Draw queues; the bar is full when all that has waited is done."""
    made = _table("queue", "ready", "since", "done")
    for name, one in queues.items():
        peak = max(peaks.get(name, 0), one.depth, 1)
        since = f"{int(one.waiting_seconds)} s" if one.waiting_seconds else ""
        bar = ProgressBar(total=peak, completed=peak - one.depth, width=_BAR)
        made.add_row(escape(name), str(one.depth), since, bar)
    return made


def _jobs(jobs: Iterable[Jobs]) -> Table:
    made = _table("jobs", "of", "state", "number")
    for one in jobs:
        made.add_row(escape(one.kind), escape(one.lane), one.state, str(one.number))
    return made


def _volumes(now: Overview) -> Table:
    made = _table("volume", "used", "free", "")
    for name, one in now.volumes.items():
        style = "red" if one.used > 1 - LOW else "green"
        bar = ProgressBar(total=1.0, completed=one.used, width=_BAR, complete_style=style)
        note = f"{now.spool_ready} objects wait" if name == "spool" and now.spool_ready else ""
        made.add_row(escape(name), bar, f"{one.free / _GIB:.1f} GiB", note)
    return made


def _table(*titles: str) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        made.add_column(title)
    return made


async def show(state: StackState, console: Console, *, json_lines: bool = False) -> bool:
    """Say it once; return whether every process is ready."""
    now = await look(state)
    if json_lines:
        _say(console, now)
    else:
        console.print(drawn(state, now))
        for one in now.processes:
            if not one.ready:
                console.print(f"{one.name} is not ready; its log: {one.log}", markup=False)
    return now.ready


async def watch(file: Path, console: Console, *, json_lines: bool = False) -> bool:
    """Say it again and again until the stack stops; return whether all was ready at the end.

    On a terminal that is one picture, elsewhere one after the other.
    """
    ready, peaks = False, dict[str, int]()
    live = Live(console=console, auto_refresh=False, screen=False)
    picture = console.is_terminal and not json_lines
    if picture:
        live.start()
    try:
        while (state := StackState.read(file)) is not None:
            now = await look(state)
            ready = now.ready
            for name, one in now.queues.items():
                peaks[name] = max(peaks.get(name, 0), one.depth) if one.depth else 0
            if json_lines:
                _say(console, now)
            elif picture:
                live.update(drawn(state, now, peaks), refresh=True)
            else:
                console.print(drawn(state, now, peaks))
            await asyncio.sleep(EVERY_SECONDS)
    finally:
        live.stop()
    return ready


async def show_queues(
    state: StackState, console: Console, *, json_lines: bool, every: bool
) -> None:
    """Say how much waits in each queue."""
    now = await look(state)
    chosen = {name: one for name, one in now.queues.items() if every or one.depth}
    if json_lines:
        for name, one in chosen.items():
            told = {"queue": name, "depth": one.depth, "waiting_seconds": one.waiting_seconds}
            line = json.dumps({**told, "paused": one.paused})
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        return
    console.print(queue_table(chosen, {}) if chosen else "nothing waits in any queue")


def _say(console: Console, now: Overview) -> None:
    console.print(json.dumps(as_json(now)), markup=False, highlight=False, soft_wrap=True)
