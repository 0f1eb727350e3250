"""One process after the other is replaced while all goes on: for a new release, or an old one.

Of each service the new process is started beside the old one, on the same ports; when it is ready,
the old one is told to leave new work to it (SIGUSR2), and ends when its last association and its
last request have ended. A new process that does not become ready is ended, and the old one stays.
"""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from darkroom_common.clock import monotonic
from darkroom_common.siblings import HAND_OVER
from darkroom_local.engines.process import Child, StartError
from darkroom_local.engines.supervisor import Program, Supervised

ORDER: Final = ("metadata", "transmit", "print", "licensing", "ingest", "api")
"""What takes messages goes before what sends them."""
READY_SECONDS: Final = 120.0
LEAVE_SECONDS: Final = 330.0
"""More than HAND_OVER_SECONDS and DRAIN_SECONDS of the services together."""
_LOOK_SECONDS: Final = 0.05
_PROBE_SECONDS: Final = 60.0
_PROBE: Final = """
import importlib.util, json
from darkroom_common.postgres.migrate import load_migrations
from darkroom_local.stack.layout import SCHEMAS
print(json.dumps({
    "takes_ports": importlib.util.find_spec("darkroom_common.links.inherited") is not None,
    "migrations": {name: load_migrations("darkroom_" + name)[-1].version for name in SCHEMAS},
}))
"""
_LINE_LIMIT: Final = 1 << 16


class RollError(RuntimeError):
    """A service was not replaced; the text says why, and what runs now."""


@dataclass(frozen=True)
class Release:
    """Which code the services run: the interpreter of an installation of Darkroom.

    Attributes:
        python: the interpreter.
        takes_ports: whether its services take over ports of a process that runs.
        migrations: the newest that it knows, of each service.
    """

    python: str
    takes_ports: bool
    migrations: Mapping[str, int]

    @classmethod
    async def of(cls, python: str) -> Self:
        """Ask an installation.

        Raises:
            RollError: there is none.
        """
        try:
            asked = await asyncio.create_subprocess_exec(
                python,
                "-c",
                _PROBE,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            async with asyncio.timeout(_PROBE_SECONDS):
                said, _ = await asked.communicate()
        except OSError as error:  # of time, too
            reason = error.strerror or "it does not answer"
            raise RollError(f"{python} cannot be run: {reason}") from error
        if asked.returncode:
            raise RollError(f"{python} has no Darkroom that can be run")
        return cls(python, **json.loads(said))

    def is_older_than(self, other: "Release") -> bool:
        """Tell whether it knows less of the database."""
        return any(self.migrations.get(name, 0) < known for name, known in other.migrations.items())


@dataclass
class Roll:
    """Replaces services of a stack.

    Attributes:
        begin: starts a new process of a service, and returns it with the URL of its health.
        is_ready: asks at such a URL.
        swapped: hears that a service has another process now.
    """

    begin: Callable[[str], Awaitable[tuple[Program, str]]]
    is_ready: Callable[[str], Awaitable[str]]
    swapped: Callable[[str, str], None]
    leaving: dict[asyncio.Task[None], Program] = field(default_factory=dict)
    """What was replaced and has not ended yet."""

    async def replace(self, service: Supervised) -> float:
        """Replace one process; return after how many seconds the new one was in charge.

        The old one may still serve who is with it: `gone` waits for that.

        Raises:
            RollError: the new one did not become ready; the old one goes on.
        """
        began = monotonic()
        program, url = await self._started(service.name)
        old = service.runnable
        service.replace(program)
        self.swapped(service.name, url)
        if isinstance(old, Program) and old.child is not None:
            task = asyncio.create_task(see_off(old))
            self.leaving[task] = old
            task.add_done_callback(self._left)
        return monotonic() - began

    def _left(self, task: asyncio.Task[None]) -> None:
        del self.leaving[task]

    async def gone(self) -> None:
        """Wait until all that was replaced has ended."""
        while self.leaving:
            await asyncio.wait([*self.leaving])

    async def _started(self, name: str) -> tuple[Program, str]:
        try:
            program, url = await self.begin(name)
        except StartError as error:
            raise RollError(f"{name}: {error}; the old process goes on") from error
        child, deadline = program.child, monotonic() + READY_SECONDS
        if child is None:
            raise RollError(f"{name}: nothing was started; the old process goes on")
        reason = "does not answer"
        while child.running and monotonic() < deadline:
            reason = await self.is_ready(url)
            if not reason:
                return program, url
            await asyncio.sleep(_LOOK_SECONDS)
        why = f"was not ready: {reason}" if child.running else "ended while starting"
        failure = child.failure(why)
        await program.kill()
        raise RollError(f"{failure}\nthe old process of {name} goes on")


async def see_off(program: Program) -> None:
    """Have a process end that another has replaced."""
    child = program.child
    if child is None:
        return
    number = HAND_OVER if catches(child, HAND_OVER) else signal.SIGTERM
    await child.stop(number, seconds=LEAVE_SECONDS)


def catches(child: Child, number: signal.Signals) -> bool:
    """Tell whether a process handles a signal: earlier releases would be ended by it."""
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{child.pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


@dataclass(frozen=True)
class Wish:
    """What `darkroom roll` asks for.

    Attributes:
        python: of the release; None: the one before (`back`), or the one that runs.
        services: names; empty: all.
        back: to the release before.
        finish: also run the `post` migrations, at the end; there is no way back then.
    """

    python: str | None = None
    services: Sequence[str] = ()
    back: bool = False
    finish: bool = False


@contextmanager
def short_name(path: Path) -> Iterator[str]:
    """Name a file so that it fits into the address of a socket, of 107 bytes, for so long."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class Desk:
    """Where `darkroom roll` asks the running stack, on a socket that only its owner reaches."""

    def __init__(self, path: Path, roll: Callable[[Wish], AsyncIterator[dict[str, Any]]]) -> None:
        self._path = path
        self._roll = roll
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Answer until cancelled."""
        self._path.unlink(missing_ok=True)
        with short_name(self._path) as name:
            before = os.umask(0o177)
            try:
                server = await asyncio.start_unix_server(self._answer, name, limit=_LINE_LIMIT)
            finally:
                os.umask(before)
            async with server:
                await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(line: dict[str, Any]) -> None:
            writer.write(json.dumps(line).encode() + b"\n")

        try:
            wish = Wish(**json.loads(await reader.readline()))
            if self._turn.locked():
                say({"failed": "another roll is under way"})
            else:
                async with self._turn:
                    await self._answer_wish(wish, say)
            await writer.drain()
        except (OSError, ValueError, TypeError) as error:
            say({"failed": f"{type(error).__name__}: {error}"})
        finally:
            writer.close()

    async def _answer_wish(self, wish: Wish, say: Callable[[dict[str, Any]], None]) -> None:
        try:
            async for line in self._roll(wish):
                say(line)
        except (RollError, StartError) as error:
            say({"failed": str(error)})
