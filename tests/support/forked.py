"""Services as forks of a process that has imported them, which takes longer than all else there.

What runs is `python -m darkroom_<name>`, by `runpy`, in a process that has imported the modules of
that service and nothing else, and has done what the service does before it forks (`prepare` of its
`__main__`). It has one thread and no event loop, and gets the environment and the output of the
test. There is one such process for each `PYTHONPATH`: what that has Python import is imported
once, too (`tests/chaos/points`). A service whose environment says otherwise how to start
(`LD_PRELOAD`) is not of this kind: see `same_start`.
"""

import asyncio
import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

_PACKET: Final = 1 << 18
_PATH: Final = "PYTHONPATH"
_OURS: Final = ("DARKROOM_", "PYTEST_", "CHAOS_", _PATH)
_holders: dict[tuple[str, str], "_Holder"] = {}


def _of_others(environment: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in environment.items() if not key.startswith(_OURS)}


@cache
def _start() -> dict[str, str]:
    """Return how our processes start: as this one is when the first is asked for.

    `pytest_configure` changes it, which comes after the import of a conftest that is named. Where
    Python looks for modules is not of it.
    """
    return _of_others(os.environ)


def same_start(environment: Mapping[str, str]) -> bool:
    """Say whether a process of this environment starts as one of ours does."""
    return _of_others(environment) == _start()


class Forked:
    """A forked process, as `asyncio.subprocess.Process` describes one.

    Attributes:
        pid: it is no other process's until the end of this one has been asked for.
    """

    def __init__(self, holder: "_Holder", pid: int) -> None:
        self.pid = pid
        self._holder = holder
        self._pidfd = os.pidfd_open(pid)
        self._code: int | None = None

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self._code is None:
            self._code = self._holder.ask({"ended": self.pid})["code"]
            if self._code is not None:
                os.close(self._pidfd)
        return self._code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended."""
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Wait for the end; return the exit code."""
        while (code := self.returncode) is None:
            loop, ended = asyncio.get_running_loop(), asyncio.Event()
            with os.fdopen(os.dup(self._pidfd)) as waited:
                loop.add_reader(waited, ended.set)
                try:
                    await ended.wait()
                finally:
                    loop.remove_reader(waited)
        return code


class _Holder:
    """The process that has imported a service, of one process of the test run."""

    def __init__(self, package: str, path: str) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, package, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=_start() | ({_PATH: path} if path else {}),
                cwd="/",  # which python would search for modules
            )
        atexit.register(self.close)

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._control.send(json.dumps(request).encode())
        answer: dict[str, Any] = json.loads(self._control.recv(_PACKET))
        return answer

    def close(self) -> None:
        self._control.close()
        self._process.wait()


def fork(
    package: str,
    environment: Mapping[str, str],
    log: Path,
    arguments: Sequence[str] = (),
    errors: Path | None = None,
) -> Forked:
    """Start `python -m <package>` with an environment; what it writes is added to a file.

    Args:
        package: of a service.
        environment: all of it.
        log: gets what it says, and its errors unless `errors` is another file.
        arguments: of the command.
        errors: see there.
    """
    key = package, environment.get(_PATH, "")
    holder = _holders.get(key) or _holders.setdefault(key, _Holder(*key))
    asked = {
        "environment": dict(environment),
        "log": str(log),
        "errors": str(errors or log),
        "directory": str(Path.cwd()),
        "arguments": list(arguments),
    }
    return Forked(holder, holder.ask(asked)["pid"])


def _hold(package: str, control: socket.socket) -> list[str] | None:
    """Answer until nobody asks any more; in a child, return at once with what arguments it has."""
    main = importlib.import_module(f"{package}.__main__")
    if hasattr(main, "prepare"):  # what it does itself before it forks
        main.prepare()
    del sys.modules[f"{package}.__main__"]
    gc.collect()
    gc.freeze()  # the children share these pages
    while packet := control.recv(_PACKET):
        asked = json.loads(packet)
        if "ended" in asked:
            answer = {"code": _code_of(asked["ended"])}
        else:
            pid = os.fork()
            if pid == 0:
                control.close()
                _become(asked)
                return list(asked["arguments"])
            answer = {"pid": pid}
        control.send(json.dumps(answer).encode())
    return None


def _code_of(pid: int) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def _become(asked: Mapping[str, Any]) -> None:
    os.chdir(asked["directory"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    for name, descriptor in (("log", 1), ("errors", 2)):
        output = os.open(asked[name], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        os.dup2(output, descriptor)
        os.close(output)


if __name__ == "__main__":
    sys.path.pop(0)  # of this file
    _, name, descriptor = sys.argv
    words = _hold(name, socket.socket(fileno=int(descriptor)))
    if words is not None:
        sys.argv = [name, *words]
        runpy.run_module(name, run_name="__main__", alter_sys=True)
