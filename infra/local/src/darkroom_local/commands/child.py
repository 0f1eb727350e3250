"""A service's command as a child that speaks in JSON lines, while the stack runs."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from typing import Any, Final

from darkroom_local.engines.process import Command

_LINE_LIMIT: Final = 1 << 20
Line = dict[str, Any]


@contextlib.asynccontextmanager
async def child(command: Command) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the child; when we are cancelled it is asked to end, and what it has done is kept."""
    with command.log.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command.arguments,
            env=dict(command.environment),
            cwd=command.directory,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            limit=_LINE_LIMIT,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await process.wait()


async def lines_of(process: asyncio.subprocess.Process) -> AsyncIterator[Line]:
    """Yield what it says, a JSON object a line."""
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    async for raw in process.stdout:
        line: Line = json.loads(raw)
        yield line
