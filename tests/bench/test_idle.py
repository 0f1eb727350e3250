"""P16 and P10 of the targets: what the whole stack costs while nothing is to do, beside Orthanc."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from darkroom_common.clock import monotonic
from darkroom_local.engines.ports import free_port
from tests.bench import report
from tests.bench.receivers import orthanc
from tests.bench.report import QUICK, Table
from tests.bench.spent import family, memory, of_tree
from tests.support.waiting import lasting

SETTLE_SECONDS = 5 if QUICK else 45
IDLE_SECONDS = 5 if QUICK else 75
TABLES: list[Table] = []
NOTE = (
    f"All processes of `darkroom up`, with RabbitMQ and PostgreSQL, from {SETTLE_SECONDS} s after "
    f"they are ready on, for {IDLE_SECONDS} s. Orthanc of Debian the same way."
)


@pytest.fixture(scope="module", autouse=True)
def page() -> Iterator[None]:
    """Write the page when all is measured."""
    yield
    report.write("Idle", NOTE, TABLES)


async def share(pid: int) -> float:
    """Return the per cent of a core that a process and its children take."""
    readings = []
    for seconds in (SETTLE_SECONDS, IDLE_SECONDS):
        await lasting(seconds)
        readings.append((of_tree(pid), monotonic()))
    (before, began), (after, ended) = readings
    return 100 * (after - before) / (ended - began)


def of_service(pid: int) -> str:
    """Return the service that a process is of, or runs beside; empty for the engines."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    named = [word.partition(".")[0] for word in words if word.startswith("darkroom_")]
    return named[0].removeprefix("darkroom_") if named else ""


def weigh(stack: int) -> None:
    """Note the memory of each service below the stack's process."""
    found = Table("P10: memory with nothing to do, shared pages counted once", "MB")
    TABLES.append(found)
    services: dict[str, list[int]] = {}
    for pid in family(stack)[1:]:
        if name := of_service(pid):
            services.setdefault(name, []).append(pid)
    for name, pids in services.items():
        found.add(name, "idle", memory(pids))
    found.add("all services", "idle", memory([one for pids in services.values() for one in pids]))


async def test_p16_idle(engine_directory: Path) -> None:
    found = Table("P16: processor time with nothing to do", "% of a core")
    TABLES.append(found)
    ports = [str(free_port()) for _ in range(3)]
    command = [sys.executable, "-m", "darkroom_local", "up", "--data", str(engine_directory / "d")]
    options = zip(("--dicom-port", "--http-port", "--commitment-port"), ports, strict=True)
    stack = await asyncio.create_subprocess_exec(
        *command,
        *[word for option in options for word in option],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        assert stack.stdout
        async with asyncio.timeout(120):
            while b"Darkroom is ready" not in (line := await stack.stdout.readline()):
                assert line, "it ended before it was ready"
        found.add("Darkroom", "whole stack", await share(stack.pid))
        weigh(stack.pid)
    finally:
        stack.send_signal(signal.SIGINT)
        await stack.communicate()
    assert stack.returncode == 0
    async with orthanc(engine_directory / "orthanc", best=True):
        found.add("Orthanc", "whole stack", await share(os.getpid()))
