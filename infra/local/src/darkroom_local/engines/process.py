"""Child processes that never outlive us: started, logged, stopped, and reclaimed after a crash.

Three things together leave nothing behind. A child asks the kernel for a signal when its parent
dies (`PR_SET_PDEATHSIG`). Every child carries a mark in its environment that names the directory
it works for, which its own children inherit. And whoever starts in a directory first ends what a
killed predecessor left there, found by that mark.
"""

import asyncio
import contextlib
import ctypes
import os
import pwd
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from darkroom_common.clock import monotonic

MARK: Final = "DARKROOM_WORKS_FOR"

_PR_SET_PDEATHSIG: Final = 1
_LOGS_KEPT: Final = 5
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class StartError(RuntimeError):
    """A child ended, or was not ready in time; the text ends with the last lines of its log."""


@dataclass(frozen=True)
class Account:
    """A user of this machine as whom a child runs."""

    name: str
    uid: int
    gid: int


def unprivileged_account(*names: str) -> Account | None:
    """Return the first existing user of `names` when we are root; None when we are not.

    Raises:
        StartError: we are root and none of them exists.
    """
    if os.geteuid() != 0:
        return None
    for name in names:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise StartError(f"running as root, and none of the users {', '.join(names)} exists")


def make_reachable(directory: Path) -> None:
    """Make a directory; as root, let other accounts go through those we make (not list them)."""
    for path in [*reversed(directory.parents), directory]:
        if not path.exists():
            path.mkdir()
            path.chmod(0o711 if os.geteuid() == 0 else 0o700)


@dataclass(frozen=True)
class Command:
    """What to run, and how.

    `death_signal` is what the child gets from the kernel when we die, `directory` what it works
    for: the mark by which leftovers are found. `nice` is how far it stands back behind others.
    """

    name: str
    arguments: Sequence[str]
    directory: Path
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    account: Account | None = None
    death_signal: signal.Signals = signal.SIGKILL
    nice: int = 0
    files: tuple[int, ...] = ()
    """Open files of ours that it has, too."""


class Child:
    """One run of a `Command`."""

    def __init__(self, command: Command, process: asyncio.subprocess.Process) -> None:
        self.command = command
        self._process = process
        self.started = monotonic()

    @classmethod
    async def start(cls, command: Command) -> "Child":
        """Start it in a session of its own, so that a terminal's Ctrl-C reaches only us.

        The log is appended to by the child itself: nothing is lost when we die. The thread that
        calls this is the parent for the kernel: it must live as long as the child should.

        Raises:
            StartError: the program cannot be executed.
        """
        account = command.account
        command.log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**command.environment, MARK: str(command.directory)}
        with command.log.open("ab") as log:
            try:
                process = await asyncio.create_subprocess_exec(
                    *command.arguments,
                    env=environment,
                    cwd=command.directory,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    pass_fds=command.files,
                    user=account.uid if account else None,
                    group=account.gid if account else None,
                    extra_groups=[] if account else None,
                    # After the change of user, which resets it. Async-signal-safe enough: three
                    # system calls and no allocation by the C library.
                    preexec_fn=_prepare(os.getpid(), command),
                )
            except OSError as error:
                raise StartError(
                    f"{command.name}: cannot run {command.arguments[0]}: {error}"
                ) from error
        return cls(command, process)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.returncode

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process.returncode is None

    async def wait(self) -> int:
        """Wait until it has ended and return its exit code."""
        return await self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal; harmless when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def stop(
        self, number: signal.Signals = signal.SIGTERM, *, seconds: float, end_group: bool = True
    ) -> int:
        """Send `number`, wait `seconds` at most, then kill; return the exit code.

        With `end_group`, whatever is left of its session's process group is killed too.
        """
        self.send(number)
        try:
            async with asyncio.timeout(seconds):
                code = await self._process.wait()
        except TimeoutError:
            self.send(signal.SIGKILL)
            code = await self._process.wait()
        if end_group:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        return code

    async def ready(self, is_ready: Callable[[], bool], *, seconds: float) -> None:
        """Wait until `is_ready()`, polled every 20 ms.

        Raises:
            StartError: it ended before, or was not ready within `seconds`.
        """
        deadline = monotonic() + seconds
        while not is_ready():
            if not self.running:
                raise self.failure(f"ended with code {self.returncode} while starting")
            if monotonic() > deadline:
                raise self.failure(f"was not ready within {seconds:g} s")
            await asyncio.sleep(0.02)

    def failure(self, what: str) -> StartError:
        """Return an error that says `what` and shows the end of the log."""
        log = self.command.log
        return StartError(f"{self.command.name} {what}; the end of {log}:\n{tail(log)}")


def tail(path: Path, lines: int = 15) -> str:
    """Return the last lines of a text file, or a remark that there are none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 20_000))
            last = file.read().decode(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        last = []
    return "\n".join(f"  {line}" for line in last) or "  (empty)"


def rotate(log: Path) -> None:
    """Rename `log` to `.1`, `.1` to `.2` and so on; five old ones are kept."""
    if not log.exists() or log.stat().st_size == 0:
        return
    for number in range(_LOGS_KEPT - 1, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{number + 1}"))
    log.replace(log.with_name(f"{log.name}.1"))


def leftovers(directory: Path) -> list[int]:
    """Return the processes that carry the mark of `directory`, and PostgreSQL's in it.

    PostgreSQL overwrites the environment of its backends, but their working directory is the data
    directory, `<directory>/data`. Other programs there, such as an operator's shell, stay.
    """
    mark = f"{MARK}={directory}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        # A process may end while we look, and others' processes are not ours to read.
        with contextlib.suppress(OSError):
            if (entry / "stat").read_text().rpartition(") ")[2].startswith("Z"):
                continue
            if mark in (entry / "environ").read_bytes().split(b"\0") or (
                (entry / "comm").read_text() == "postgres\n"
                and (entry / "cwd").readlink().parent == directory
            ):
                found.append(int(entry.name))
    return found


async def reclaim(directory: Path, *, gently: signal.Signals, seconds: float = 10) -> list[int]:
    """End every leftover of `directory`: first by `gently`, after `seconds` by SIGKILL.

    Only for the holder of the directory's lock. Returns the pids that were found.

    Raises:
        StartError: something is still there ten seconds after SIGKILL.
    """
    found = leftovers(directory)
    remaining, number = found, gently
    for limit in (seconds, 10.0):
        deadline = monotonic() + limit
        for pid in remaining:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        while remaining and monotonic() < deadline:
            await asyncio.sleep(0.05)
            remaining = leftovers(directory)
        if not remaining:
            return found
        number = signal.SIGKILL
    raise StartError(f"processes {remaining} of an earlier run in {directory} do not end")


def _prepare(parent: int, command: Command) -> Callable[[], None]:
    number, nice = int(command.death_signal), command.nice

    def prepare() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
        os.nice(nice)
        if os.getppid() != parent:  # it died before the request was made
            os._exit(1)

    return prepare
