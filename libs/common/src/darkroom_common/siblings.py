"""A service in several processes behind one port, each of which is a whole replica of it.

The process that is started forks them before it has a thread or a loop, so that they share what was
imported; then it only keeps them: it asks them how they are, adds their metrics, and passes the
word to stop on. When one of them ends by itself all end, and whoever runs the service starts it
again, as for a service of one process.
"""

import asyncio
import ctypes
import gc
import json
import mmap
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from darkroom_common.errors import ConfigurationError
from darkroom_common.health import CHECK_LIMIT, Health
from darkroom_common.http.exchange import Receive, Scope, Send
from darkroom_common.http.server import BACKLOG, listen
from darkroom_common.links.inherited import inherited
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.merged import MergedMetrics, Row, snapshot

log = get_logger(__name__)
_PR_SET_PDEATHSIG: Final = 1
_READY: Final = b"ready"
_METRICS: Final = b"metrics"
_LONGEST: Final = 64 << 20
_GRACE: Final = 5.0
"""Seconds beyond the limit of draining."""
HAND_OVER: Final = signal.SIGUSR2
"""Says that another process has taken over: accept nothing more, and end when all have gone."""
_SLOT: Final = struct.Struct("=Q")


def die_with(parent: int) -> None:
    """Be killed when the parent ends, however it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended before we could say so
        os._exit(1)


@dataclass(frozen=True)
class Several:
    """How a service is served.

    Attributes:
        count: of the processes.
        host: address that they listen on.
        port: the same; 0 for any.
        memories: files of memory that all of them have, whatever for.
    """

    count: int
    host: str
    port: int
    memories: tuple[int, ...] = ()


class Word:
    """Says "look again" to all processes of a service, at once: a number of each in memory.

    Args:
        memory: shared, with a slot for each process.
        number: of this process.
    """

    def __init__(self, memory: mmap.mmap | bytearray | None = None, number: int = 0) -> None:
        self._memory = bytearray(_SLOT.size) if memory is None else memory
        self._number = number
        self._heard = self._sum()

    def say(self) -> None:
        """Have all others hear it; whoever says it has heard it."""
        at = self._number * _SLOT.size
        (said,) = _SLOT.unpack_from(self._memory, at)
        _SLOT.pack_into(self._memory, at, said + 1)

    def heard(self) -> bool:
        """Tell whether anybody has said it since this was asked last."""
        before, self._heard = self._heard, self._sum()
        return before != self._heard

    def _sum(self) -> int:
        return sum(said for (said,) in _SLOT.iter_unpack(bytes(self._memory)))


@dataclass
class Sibling:
    """One of the processes, as it knows itself.

    Attributes:
        number: from 0.
        count: of them all.
        listener: takes its connections from the port of all.
        memory: that all of them share: a `Word`.
        control: where the process that keeps it asks.
        memories: see `Several`.
    """

    number: int
    count: int
    listener: socket.socket
    memory: mmap.mmap
    control: socket.socket
    memories: tuple[int, ...] = ()

    def share(self, of_all: int) -> int:
        """Return this process's part of what all of them may have together, rounded up."""
        return -(-of_all // self.count)

    async def answer(self, health: Health, stop: asyncio.Event) -> None:
        """Answer the process that keeps this one until `stop` is set."""
        reader, writer = await asyncio.open_unix_connection(sock=self.control)
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                asked = asyncio.create_task(reader.readline())
                await asyncio.wait({asked, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not asked.done():
                    asked.cancel()
                    break
                word, _, number = asked.result().partition(b" ")
                if not word:
                    break
                found: Any = await health.report() if word == _READY else snapshot()
                writer.write(json.dumps([int(number), found]).encode() + b"\n")
                await writer.drain()
        finally:
            stopping.cancel()
            writer.close()


@dataclass
class Kept:
    """One of the processes, as the one that keeps it knows it."""

    number: int
    pid: int
    control: socket.socket
    code: int | None = None
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _asked: int = 0

    async def ask(self, word: bytes) -> Any:
        """Return what it answers.

        Raises:
            TimeoutError, OSError, ValueError: it does not.
        """
        async with self._turn, asyncio.timeout(2 * CHECK_LIMIT):
            if self._streams is None:
                self._streams = await asyncio.open_unix_connection(
                    sock=self.control, limit=_LONGEST
                )
            reader, writer = self._streams
            self._asked += 1
            writer.write(b"%s %d\n" % (word, self._asked))
            await writer.drain()
            while True:  # what was given up before may be answered yet
                number, found = json.loads(await reader.readline())
                if number == self._asked:
                    return found

    def close(self) -> None:
        """Ask it nothing more."""
        if self._streams is None:
            self.control.close()
        else:
            self._streams[1].close()


@dataclass
class HealthOfSeveral(Health):
    """How all processes are: what is not well with one of them is not well."""

    siblings: Sequence[Kept] = ()
    _merged: MergedMetrics = field(default_factory=lambda: MergedMetrics(replicas=True))

    def __post_init__(self) -> None:
        self.metrics = self._merged

    async def _report(self) -> tuple[bool, dict[str, Any]]:
        reports = await asyncio.gather(*map(self._report_of, self.siblings))
        checks: dict[str, Any] = {}
        for _, report in reports:
            for name, result in report["checks"].items():
                if checks.get(name, {"ok": True})["ok"]:
                    checks[name] = result
        ready = all(well for well, _ in reports)
        return ready, {
            "status": "ready" if ready else "not ready",
            "service": self.service,
            "version": self.version,
            "checks": checks,
        }

    @staticmethod
    async def _report_of(one: Kept) -> tuple[bool, dict[str, Any]]:
        try:
            ready, report = await one.ask(_READY)
        except (TimeoutError, OSError, ValueError):
            reason = f"process {one.number} does not answer"
            return False, {"checks": {"process": {"ok": False, "reason": reason}}}
        return ready, report

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, with the metrics of now."""
        if scope.get("path") == "/metrics" and self.shows_metrics:
            await self.report()
            for one in self.siblings:
                with suppress(TimeoutError, OSError, ValueError):
                    self._merged.put(one.number, _rows(await one.ask(_METRICS)))
        await super().app(scope, receive, send)


def _rows(said: list[Any]) -> list[Row]:
    return [
        (metric, sample, gauge, tuple((name, value) for name, value in labels), value)
        for metric, sample, gauge, labels, value in said
    ]


def start(several: Several, serve: Callable[[Sibling], int]) -> list[Kept]:
    """Fork the processes; each serves and exits. Call it before there is any thread.

    Raises:
        ConfigurationError: the port is taken.
    """
    listeners = _listeners(several)
    memory = mmap.mmap(-1, several.count * _SLOT.size)
    kept: list[Kept] = []
    parent = os.getpid()
    gc.collect()
    gc.freeze()  # what was imported stays shared
    sys.stdout.flush()
    for number, listener in enumerate(listeners):
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid:
            theirs.close()
            kept.append(Kept(number, pid, ours))
            continue
        code = 1
        try:
            die_with(parent)
            ours.close()
            for one in kept:
                one.control.close()
            for other in listeners:
                if other is not listener:
                    other.close()
            code = serve(Sibling(number, several.count, listener, memory, theirs, several.memories))
        finally:
            sys.stdout.flush()
            os._exit(code)
    for listener in listeners:
        listener.close()
    return kept


def _listeners(several: Several) -> list[socket.socket]:
    held = inherited(several.port, BACKLOG)
    if held:
        if len(held) != several.count:
            raise ConfigurationError(
                f"{len(held)} sockets are held for port {several.port}, and it takes one for each"
                f" of {several.count} processes"
            )
        return held
    with listen(several.host, several.port) as probe:  # of nobody else: those do not share
        port = probe.getsockname()[1]
    return [listen(several.host, port, shared=True) for _ in range(several.count)]


async def keep(siblings: Sequence[Kept], health: Health, *, grace: float, hand_over: float) -> bool:
    """Wait for the word to stop and pass it on; return whether all have ended as they should.

    When one ends by itself the others are stopped, too.

    Args:
        siblings: the processes.
        health: of all of them.
        grace: seconds to finish work.
        hand_over: seconds for which they may wait for their clients, when others have taken over.
    """
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    handed_over = asyncio.Event()

    def hand_on() -> None:
        handed_over.set()
        _tell(siblings, HAND_OVER)
        loop.call_later(hand_over, stopping.set)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(HAND_OVER, hand_on)
    ends = [asyncio.create_task(_end_of(one)) for one in siblings]
    told = asyncio.create_task(stopping.wait())
    await asyncio.wait({told, *ends}, return_when=asyncio.FIRST_COMPLETED)
    by_itself = not (stopping.is_set() or handed_over.is_set())
    if handed_over.is_set() and not stopping.is_set():  # each goes when it has nobody left
        all_ended = asyncio.create_task(asyncio.wait(ends))
        await asyncio.wait({told, all_ended}, return_when=asyncio.FIRST_COMPLETED)
        all_ended.cancel()
    told.cancel()
    if by_itself:
        gone = [(one.number, one.code) for one in siblings if one.code is not None]
        log.error("service.process_ended", processes=gone)
    health.draining = True
    _tell(siblings, signal.SIGTERM)
    _, late = await asyncio.wait(ends, timeout=grace + _GRACE)
    for one in siblings:
        one.close()
    if late:
        log.error("service.process_killed", processes=len(late))
        _tell(siblings, signal.SIGKILL)
        await asyncio.wait(ends)
    return not by_itself and all(one.code == 0 for one in siblings)


async def _end_of(one: Kept) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    file = os.pidfd_open(one.pid)
    try:
        loop.add_reader(file, ended.set)
        await ended.wait()
        loop.remove_reader(file)
        one.code = _code_of(one.pid)
    finally:
        os.close(file)


def _code_of(ended: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(ended, 0)[1])


def _tell(siblings: Sequence[Kept], number: signal.Signals) -> None:
    for one in siblings:
        if one.code is None:
            with suppress(ProcessLookupError):
                os.kill(one.pid, number)


def kill(siblings: Sequence[Kept]) -> None:
    """Leave none of them behind."""
    _tell(siblings, signal.SIGKILL)
