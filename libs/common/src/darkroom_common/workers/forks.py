"""Forks of a process that has imported a module, which takes longer than most of its tasks.

That process has one thread, no connection, and never sees a task: what one child knew, the next
cannot. It ends by itself when nothing is asked of it for a while; the next task starts it again.
"""

import asyncio
import os
import signal
import socket
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from darkroom_common.workers.answering import FORKED
from darkroom_common.workers.faults import WorkerGone

_PACKET: Final = 64


class Child:
    """A child of a process that forks.

    Attributes:
        returncode: its exit code, negative for a signal; None until its end was waited for.
    """

    def __init__(self, pid: int, descriptor: int, told: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._descriptor = descriptor
        self._told = told
        self._ended = asyncio.Lock()

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    async def wait(self) -> int:
        """Wait for the end; return the exit code."""
        async with self._ended:
            if self.returncode is None:
                await _readable(self._told)
                said = self._told.recv(_PACKET)
                if not said:  # its parent was killed: it is whoever's takes in orphans
                    self.kill()
                    await _readable(self._descriptor)
                    _reap(self._descriptor)
                self.returncode = int(said or -signal.SIGKILL)
                self._told.close()
                os.close(self._descriptor)
        return self.returncode


async def ask_for_child(control: socket.socket, said: bytes, files: Sequence[int]) -> Child | None:
    """Have a process fork that is in `forking.fork_until_over`; None: it is over, or was killed.

    Args:
        control: where it is asked.
        said: what the child finds; not empty.
        files: that the child gets.
    """
    told, teller = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with teller:
            socket.send_fds(control, [said], [*files, teller.fileno()], socket.MSG_NOSIGNAL)
        await _readable(told)
        answer, descriptors, _, _ = socket.recv_fds(told, _PACKET, 1)
    except OSError:
        answer = b""
    except BaseException:
        told.close()
        raise
    if not answer:
        told.close()
        return None
    told.settimeout(0)
    return Child(int(answer), descriptors[0], told)


class Forked:
    """A child that answers tasks, as `asyncio.subprocess.Process` describes one.

    Attributes:
        stdin, stdout: one socket.
    """

    def __init__(
        self, child: Child, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    ) -> None:
        self.pid = child.pid
        self.stdout, self.stdin = streams
        self.kill = child.kill
        self._child = child

    @property
    def returncode(self) -> int | None:
        """See `Child`."""
        return self._child.returncode

    async def wait(self) -> int:
        """Wait for the end; return the exit code."""
        code = await self._child.wait()
        self.stdin.close()
        return code


class Forks:
    """Makes children.

    Args:
        command: runs the module, which answers tasks; with one argument more it forks instead.
        environment: of the process, besides that of this one.
        longest: bytes of a line that a child says.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], longest: int
    ) -> None:
        self._command = (*command, FORKED)
        self._environment = environment
        self._longest = longest
        self._parent: tuple[Process, socket.socket] | None = None
        self._asking = asyncio.Lock()

    async def fork(self) -> Forked:
        """Return a new child.

        Raises:
            WorkerGone: there is none: the module cannot be run, or the machine has no room.
        """
        for _ in range(2):  # the parent may have ended, or end just now
            async with self._asking:
                child = await self._ask()
                if child is not None:
                    return child
                await self.close()
        raise WorkerGone(f"{self._command[2]} did not start")

    async def _ask(self) -> Forked | None:
        if self._parent is None:
            self._parent = await self._start()
        stream, theirs = socket.socketpair()
        child = None
        try:
            with theirs:
                child = await ask_for_child(self._parent[1], b"f", [theirs.fileno()])
        finally:
            if child is None:
                stream.close()
        if child is None:
            return None
        return Forked(child, await asyncio.open_connection(sock=stream, limit=self._longest))

    async def _start(self) -> tuple[Process, socket.socket]:
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=theirs.fileno(),
                stdout=DEVNULL,
                env={**os.environ, **self._environment},
            )
        return process, control

    async def close(self) -> None:
        """End the parent; its children live on until they are ended."""
        if self._parent is None:
            return
        process, control = self._parent
        self._parent = None
        control.close()
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        await asyncio.shield(process.wait())


def _reap(descriptor: int) -> None:
    """Take note of the end of a process, if it became a child of this one, as of PID 1."""
    with suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOHANG)


async def _readable(what: socket.socket | int) -> None:
    """Wait until there is something to read, or its end."""
    loop, found = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(what, found.set)
    try:
        await found.wait()
    finally:
        loop.remove_reader(what)
