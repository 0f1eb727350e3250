"""`darkroom reindex`: has metadata read stored objects again, and shows how that goes.

As in `verify.py`, the work is done by a child with the role and the settings of metadata.
"""

import json
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from darkroom_local.commands.child import Line, child, lines_of
from darkroom_local.engines.process import tail
from darkroom_local.stack.plan import Plan
from darkroom_local.stack.state import StackState


class ReindexError(RuntimeError):
    """It could not run, or not to its end; the text says why."""


async def run(data: Path, arguments: list[str], *, as_json: bool, console: Console) -> int:
    """Read objects of the running stack of a data directory again; return the exit code.

    Raises:
        ReindexError: it does not run here, or it failed.
    """
    if StackState.read(data / "run" / "state.json") is None:
        raise ReindexError(f"Darkroom does not run in {data}: start it with darkroom up")
    command = Plan.of_running(data).reindexing(arguments)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    summary: Line | None = None
    bar = Progress(
        *columns, TimeRemainingColumn(), console=console, disable=as_json or not console.is_terminal
    )
    with bar:
        task = bar.add_task("reading objects again", total=None)
        async with child(command) as process:
            async for line in lines_of(process):
                if as_json:
                    console.out(json.dumps(line), highlight=False)
                elif line["event"] == "missing":
                    console.print(f"missing: {line['object_key']}", markup=False, highlight=False)
                if line["event"] == "started":
                    bar.update(task, total=line["instances"] + line["instances_left"])
                if "instances" in line:
                    bar.update(task, completed=line["instances"])
                summary = line if line["event"] == "summary" else summary
            code = await process.wait()
    if summary is None or code not in (0, 1):
        raise ReindexError(f"it ended with code {code}:\n{tail(command.log, 3)}")
    if not as_json:
        console.print(_told(summary), markup=False, highlight=False)
    return code


def _told(summary: Line) -> str:
    done = f"{summary['instances']} objects of {summary['studies']} studies were read"
    changed = f"{summary['changed']} were indexed otherwise than today"
    missing = f"; {summary['skipped']} are missing: darkroom verify" if summary["skipped"] else ""
    return f"{done}, {changed}{missing}"
