"""`darkroom ae`: has ingest show or change who may send.

The list is ingest's, which owns the schema: it runs as a child, `python -m darkroom_ingest ae`,
with that service's role and settings. Its log, a line for each change, is kept in logs/ae.log.
"""

import asyncio
from pathlib import Path

from darkroom_local.stack.plan import Plan
from darkroom_local.stack.state import StackState


class SendersError(RuntimeError):
    """The list cannot be shown or changed; the text says why."""


async def run(data: Path, arguments: list[str]) -> int:
    """Run the command on the running stack of a data directory; return its exit code.

    Raises:
        SendersError: it does not run here.
    """
    if StackState.read(data / "run" / "state.json") is None:
        raise SendersError(f"Darkroom does not run in {data}: start it with darkroom up")
    command = Plan.of_running(data).senders(arguments)
    with command.log.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command.arguments,
            env=dict(command.environment),
            cwd=command.directory,
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, told = await process.communicate()
        log.write(told)
    if process.returncode:
        lines = [line for line in told.decode().splitlines() if not line.startswith("{")]
        raise SendersError("\n".join(lines) or f"it ended with code {process.returncode}")
    return 0
