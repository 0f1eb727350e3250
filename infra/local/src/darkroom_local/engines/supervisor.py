"""Keeps a process running: starts it again when it ends, with a growing delay."""

import asyncio
import signal
from collections.abc import Callable
from typing import Final, Protocol

from darkroom_common.clock import monotonic, wall_seconds
from darkroom_local.engines.process import Child, Command, StartError

FIRST_DELAY: Final = 0.2
LONGEST_DELAY: Final = 10.0
STABLE_SECONDS: Final = 30.0


class Runnable(Protocol):
    """Something that is started, ends by itself or is stopped; `PrivatePostgres` is one."""

    @property
    def child(self) -> Child | None:
        """The main process, while there is one."""

    async def start(self) -> None:
        """Start it. Raises `StartError`."""

    async def ended(self) -> str:
        """Wait until it has ended by itself and say how."""

    async def kill(self) -> None:
        """End what is left of it, at once; harmless when nothing is."""


class Program:
    """A child process as a `Runnable`: started is when it has been executed."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.child: Child | None = None

    async def start(self) -> None:
        """Execute it."""
        self.child = await Child.start(self.command)

    async def ended(self) -> str:
        """Wait for its end."""
        return f"ended with code {await self.child.wait()}" if self.child else "did not start"

    async def stop(self, *, seconds: float) -> None:
        """Ask it to stop by SIGTERM, wait `seconds` at most, then kill."""
        if self.child:
            await self.child.stop(signal.SIGTERM, seconds=seconds)
            self.child = None

    async def kill(self) -> None:
        """Kill it."""
        await self.stop(seconds=0)


class Supervised:
    """One `Runnable` under supervision, and what is known of it.

    `state` is one of waiting, starting, running, restarting, stopping, stopped; `ready` and
    `reason` are what its health check said last. `changed` is called after every change.
    """

    def __init__(
        self, name: str, runnable: Runnable, changed: Callable[["Supervised"], None]
    ) -> None:
        self.name = name
        self.runnable = runnable
        self.state = "waiting"
        self.ready = False
        self.reason = ""
        self.restarts = 0
        self.since = wall_seconds()
        self._changed = changed
        self._delay = FIRST_DELAY
        self._replaced = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        child = self.runnable.child
        return child.pid if child and child.running else None

    def set(self, state: str, reason: str = "") -> None:
        """Note a new state."""
        if (state, reason) == (self.state, self.reason):
            return
        if state != self.state:
            self.since = wall_seconds()
        self.state, self.reason = state, reason
        if state != "running":
            self.ready = False
        self._changed(self)

    def checked(self, *, ready: bool, reason: str = "") -> None:
        """Note the result of a health check."""
        if self.state == "running" and (ready, reason) != (self.ready, self.reason):
            self.ready, self.reason = ready, reason
            self._changed(self)

    async def start(self) -> None:
        """Start it for the first time.

        Raises:
            StartError: it could not be started.
        """
        self.set("starting")
        await self.runnable.start()
        self.set("running")

    async def keep(self) -> None:
        """Start it again whenever it ends, until cancelled."""
        while True:
            began = monotonic()
            self._replaced.clear()
            reason = await self._ended()
            if reason is None:
                continue
            if monotonic() - began >= STABLE_SECONDS:
                self._delay = FIRST_DELAY
            await self._again(reason)

    def replace(self, runnable: Runnable) -> None:
        """Keep another one from now on, which runs and is ready; the old one is the caller's."""
        self.runnable = runnable
        self.state, self.since, self.ready, self.reason = "running", wall_seconds(), True, ""
        self._replaced.set()
        self._changed(self)

    async def _ended(self) -> str | None:
        """Wait for the end of what runs and say how it was; None: it was replaced."""
        ending = asyncio.ensure_future(self.runnable.ended())
        replaced = asyncio.ensure_future(self._replaced.wait())
        try:
            await asyncio.wait({ending, replaced}, return_when=asyncio.FIRST_COMPLETED)
            return None if self._replaced.is_set() else ending.result()
        finally:
            for one in (ending, replaced):
                one.cancel()
            await asyncio.gather(ending, replaced, return_exceptions=True)

    async def _again(self, reason: str) -> None:
        while True:
            self.restarts += 1
            self.set("restarting", reason)
            await asyncio.sleep(self._delay)
            self._delay = min(LONGEST_DELAY, self._delay * 2)
            if self._replaced.is_set():
                return
            await self.runnable.kill()
            try:
                await self.start()
            except StartError as error:
                reason = str(error).partition(";")[0]
            else:
                return
