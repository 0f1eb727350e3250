"""Run the tests of a mutant: a fork of a warm process, on a copy of the package, on kept engines.

The sources are never touched: a slot has a copy of a package, which comes first in `sys.path` and
`PYTHONPATH`, so that the services that tests start have the mutant, too.
"""

import contextlib
import importlib
import io
import os
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from tests.support.shared_engine import new_base, shared_engine

ROOT: Final = Path(__file__).parents[2]
WARM: Final = (
    "pydantic fastapi starlette.routing numpy asyncpg aio_pika httpx pydicom.pixels pynetdicom"
    " PIL.Image opentelemetry.sdk.trace structlog prometheus_client cryptography.x509 orjson"
    " imagecodecs hypothesis"
)
PLUGINS: Final = ("-p", "pytest_asyncio.plugin", "-p", "pytest_timeout")
"""All that the core's tests need: to look for the others takes longer than most of the tests."""
KEPT: Final = "DARKROOM_TEST_ENGINES_KEPT"
CAUGHT, SURVIVED, TIMED_OUT = "caught", "survived", "timed out"


@dataclass(frozen=True)
class Task:
    """One mutant and its tests."""

    name: str
    path: str
    source: bytes
    tests: Sequence[str]
    limit: float


@dataclass
class Verdict:
    """What became of it. `said` is the end of what pytest wrote."""

    name: str
    result: str
    seconds: float
    said: str


@dataclass
class _Slot:
    directory: Path
    copied: set[str] = field(default_factory=set)
    written: int = 0

    def put(self, path: str, source: bytes) -> Path:
        """Make the copy of the package in which a file is as given."""
        folder, _, inside = path.partition("/src/")
        package = inside.partition("/")[0]
        home = self.directory / package
        if package not in self.copied:
            shutil.copytree(ROOT / folder / "src" / package, home / package)
            self.copied.add(package)
        target = home / inside
        target.write_bytes(source)
        self.written += 1  # another time each, so that no compiled file passes for it
        os.utime(target, (self.written, self.written))
        return home

    def restore(self, path: str) -> None:
        self.put(path, (ROOT / path).read_bytes())


@contextmanager
def warm(slots: int, *, engines: bool) -> Iterator["Runner"]:
    """A runner of so many at once, with the engines for all of them if their tests need some."""
    for name in WARM.split():
        importlib.import_module(name)
    base = new_base("mutants")
    os.environ["DARKROOM_TEST_ENGINES"] = str(base)
    os.environ[KEPT] = "1"
    with ExitStack() as kept:
        for engine in ("postgres", "rabbitmq") if engines else ():
            kept.enter_context(shared_engine(engine, base))
        directory = Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="mutants-")))
        directory.chmod(0o711)
        yield Runner([_Slot(directory / str(n)) for n in range(slots)])


class Runner:
    """Runs tasks, as many at once as there are slots."""

    def __init__(self, slots: list[_Slot]) -> None:
        self._slots = slots

    def run(self, tasks: Sequence[Task]) -> Iterator[Verdict]:
        """Yield the verdicts as they come."""
        waiting = list(reversed(tasks))
        free = list(self._slots)
        running: dict[int, tuple[Task, _Slot, int, float, Path]] = {}
        try:
            while waiting or running:
                while waiting and free:
                    task, slot = waiting.pop(), free.pop()
                    log = slot.directory / "output"
                    home = slot.put(task.path, task.source)
                    pid = _forked(home, task.tests, log)
                    running[os.pidfd_open(pid)] = task, slot, pid, time.monotonic(), log
                ready, _, _ = select.select(list(running), [], [], 0.5)
                for descriptor, (task, slot, pid, began, log) in list(running.items()):
                    took = time.monotonic() - began
                    late = took > task.limit
                    if descriptor not in ready and not late:
                        continue
                    _end(pid)
                    _, status = os.waitpid(pid, 0)
                    os.close(descriptor)
                    del running[descriptor]
                    slot.restore(task.path)
                    free.append(slot)
                    code = os.waitstatus_to_exitcode(status)
                    result = SURVIVED if code == 0 else TIMED_OUT if late else CAUGHT
                    said = log.read_text(errors="replace")[-3000:]
                    yield Verdict(task.name, result, took, said)
        finally:
            for _, _, pid, _, _ in running.values():
                _end(pid)


def _end(pid: int) -> None:
    """End what a fork has started, and itself if it is late."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _forked(home: Path, tests: Sequence[str], log: Path) -> int:
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), line_buffering=True)
        sys.path.insert(0, str(home))
        os.environ["PYTHONPATH"] = str(home)
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        os.chdir(ROOT)
        again = ("darkroom_", "prometheus_client")  # the latter knows metrics by their names
        for name in [n for n in sys.modules if n.startswith(again)]:
            del sys.modules[name]
        for name in [n for n in sys.modules if n.startswith("tests.") and "mutants" not in n]:
            del sys.modules[name]
        options = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "-rf"]
        code = int(pytest.main([*options, "--timeout", "60", "--tb", "line", *PLUGINS, *tests]))
    except BaseException:
        traceback.print_exc(file=sys.stdout)
        raise
    finally:
        sys.stdout.flush()
        os._exit(code)
