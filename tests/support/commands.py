"""Commands of services, as forks of a process that has imported the service (`forked`)."""

import asyncio
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.support.forked import fork
from tests.support.waiting import LIMIT


async def run_command(
    name: str, *words: str, environment: Mapping[str, str]
) -> tuple[int, str, str]:
    """Run `python -m darkroom_<name>` with words to its end.

    Args:
        name: of the service.
        words: of the command.
        environment: that it has beside where programs and modules are found.

    Returns:
        Its exit code, its standard output and its standard error.
    """
    given = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    with tempfile.TemporaryDirectory() as directory:
        said, errors = Path(directory, "said"), Path(directory, "errors")
        process = fork(f"darkroom_{name}", given | dict(environment), said, words, errors)
        try:
            async with asyncio.timeout(LIMIT):
                code = await process.wait()
        finally:
            process.kill()
        return code, said.read_text(), errors.read_text()
