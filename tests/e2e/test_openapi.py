"""Schemathesis over the whole OpenAPI document: no 5xx, no answer that the document does not name.

In `make test` a short run that is the same each time; `make fuzz` runs for ten minutes.
"""

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.user import DarkroomUp
from tests.support.schemathesis import LIFTED, Fuzzing

SECONDS: Final = int(os.environ.get("DARKROOM_FUZZ_SECONDS", "0"))
SEED: Final = os.environ.get("DARKROOM_TEST_SEED", "12")
REPORT: Final = Path(tempfile.gettempdir()) / "darkroom-fuzz.txt"
"""All that a long run has said."""
LONG: Final = ("--generation-database", "none")
SHORT: Final = ("--phases", "examples,fuzzing", "--max-examples", "4", "--generation-deterministic")


async def demo(running: DarkroomUp) -> None:
    """Have a study there, and a job or two."""
    command = Path(sys.executable).with_name("darkroom")
    arguments = ("demo", "--only-studies", "--data", str(running.data))
    process = await asyncio.create_subprocess_exec(
        command, *arguments, stdout=asyncio.subprocess.DEVNULL
    )
    assert await process.wait() == 0


@pytest.mark.timeout(max(600, SECONDS + 300))
@pytest.mark.req("API-16")
async def test_a_fuzzer_finds_no_defect_and_nothing_undocumented() -> None:
    directory = Path(tempfile.mkdtemp(prefix="darkroom-fuzz-"))
    directory.chmod(0o711)  # PostgreSQL runs as another user
    running = DarkroomUp(directory / "data", settings=LIFTED)
    try:
        await running.start()
        await demo(running)
        password = (running.data / "admin-password").read_text().strip()
        fuzzing = Fuzzing(running.url, "admin", password)
        more = os.environ.get("DARKROOM_FUZZ_OPTIONS", "").split()
        options = ("--max-time", str(SECONDS), *LONG, *more) if SECONDS else SHORT
        code, said = await fuzzing.run(directory, "--seed", SEED, *options)
    finally:
        await running.stop()
        await asyncio.to_thread(shutil.rmtree, directory)
    print(said[-1500:])
    if SECONDS:
        REPORT.write_text(said)
    failures = said.partition("= FAILURES =")[2][:20_000]
    assert code == 0, f"{failures}\n{said[-12_000:]}"
    assert "generated" in said
