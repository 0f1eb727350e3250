"""One PostgreSQL or RabbitMQ shared by the processes of a test run, gone when the last is gone.

The first process that needs an engine starts a holder (this file as a script), which runs it as
its child. Every user keeps a shared flock(2) on `<directory>/users`; the holder asks for an
exclusive one now and then, and gets it when no user is left, however they ended. Then it ends the
engine and removes the directory. So pytest-xdist workers share one engine, and none has to be the
last.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from darkroom_common.amqp.permissions import USERS
from darkroom_local.engines.postgres import PrivatePostgres, installations
from darkroom_local.engines.process import StartError, tail
from darkroom_local.engines.rabbitmq import USER, PrivateRabbitMQ, RabbitPorts

USER_PASSWORD: Final = "test-only"
"""Of each service at the shared RabbitMQ."""
_START_SECONDS: Final = 150.0
_LOOK_EVERY: Final = 0.2


_MEMORY: Final = Path("/dev", "shm")
_ROOM: Final = 4 << 30
"""Bytes that have to be free there."""


def home_of_engines() -> Path:
    """Return where engines are to live: in memory, if there is room.

    To make a database and to remove it is thousands of files, which takes a tenth of the processor
    time there: 42 ms instead of 400 for the schemas of five services.
    """
    room = os.statvfs(_MEMORY) if _MEMORY.is_mount() else None
    roomy = room is not None and room.f_bavail * room.f_frsize >= _ROOM
    home = _MEMORY if roomy and os.access(_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    return home.resolve()


def new_base(name: str) -> Path:
    """Return a directory for the engines of a run, which is still to be made."""
    return home_of_engines() / f"darkroom-{name}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


@contextmanager
def shared_engine(kind: str, base: Path) -> Iterator[dict[str, Any]]:
    """Use the engine `kind` ("postgres" or "rabbitmq") of `base`, starting it when it is not there.

    Yields what `_address` describes. `base` must be reachable by the engines' users when we are
    root, and is removed with the last engine in it.

    Raises:
        StartError: the engine could not be started.
    """
    directory = base / kind
    users = _enter(directory)
    try:
        with (directory / "starting").open("w") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            if not (directory / "address.json").exists():
                _start_holder(kind, directory)
        yield json.loads((directory / "address.json").read_text())
    finally:
        os.close(users)


def wait_until_gone(base: Path, *, seconds: float = 30) -> bool:
    """Wait until every engine of `base` has been removed; say whether that happened in time."""
    deadline = time.monotonic() + seconds
    while base.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not base.exists()


def _enter(directory: Path) -> int:
    """Take the shared lock on a `users` file that has not been removed meanwhile."""
    while True:
        for path in (directory.parent, directory):
            path.mkdir(mode=0o711, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            path = directory / "users"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
            os.close(descriptor)


def _start_holder(kind: str, directory: Path) -> None:
    log = directory / "holder.log"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", __file__, kind, str(directory)],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    deadline = time.monotonic() + _START_SECONDS
    while not (directory / "address.json").exists():
        ended, _ = os.waitpid(pid, os.WNOHANG)
        if ended or time.monotonic() > deadline:
            raise StartError(f"the shared {kind} did not start:\n{tail(log, 40)}")
        time.sleep(0.05)


async def _hold(kind: str, directory: Path) -> None:
    engine: PrivatePostgres | PrivateRabbitMQ
    if kind == "postgres":
        engine = PrivatePostgres(directory / "engine", fsync=False, settings=_cheap_logins())
    else:
        engine = PrivateRabbitMQ(
            directory / "engine",
            ports=RabbitPorts.free(management=True),
            passwords=dict.fromkeys(USERS.values(), USER_PASSWORD),
        )
    await engine.start()
    draft = directory / "address.new"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(_address(engine), file)
    draft.rename(directory / "address.json")
    with (directory / "users").open("r+") as users:
        while engine.child and engine.child.running:
            await asyncio.sleep(_LOOK_EVERY)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
        # The data go too: no reason to wait for an orderly end.
        if isinstance(engine, PrivatePostgres):
            await engine.stop("immediate")
        else:
            await engine.kill()
        shutil.rmtree(directory)
        with contextlib.suppress(OSError):  # the other engine is still in it
            directory.parent.rmdir()


def _cheap_logins() -> dict[str, str]:
    """Return what makes a quarter less of a connection, of which a test makes dozens.

    The passwords are those of tests; from PostgreSQL 16 on it says how often they are hashed.
    """
    return {"scram_iterations": "1"} if installations()[0].major >= 16 else {}


def _address(engine: PrivatePostgres | PrivateRabbitMQ) -> dict[str, Any]:
    """Return what a user needs to know: for PostgreSQL url, for RabbitMQ also management."""
    if isinstance(engine, PrivatePostgres):
        return {"superuser_url": engine.superuser_url(), "port": engine.port}
    return {
        "port": engine.ports.amqp,
        "user": USER,
        "password": engine.password,
        "management_url": engine.management_url,
    }


if __name__ == "__main__":
    asyncio.run(_hold(sys.argv[1], Path(sys.argv[2])))
