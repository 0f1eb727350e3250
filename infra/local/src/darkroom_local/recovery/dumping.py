"""pg_dump and pg_restore, of the newest PostgreSQL that this machine has."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, cast
from urllib.parse import unquote, urlsplit

from darkroom_local.engines.postgres import installations
from darkroom_local.recovery.archive import RecoveryError

_CHUNK: Final = 1 << 20
_TOLD: Final = 2000


def dump(url: str, snapshot: str) -> Iterator[bytes]:
    """Yield a dump of a database in the custom format, as a snapshot sees it.

    Raises:
        RecoveryError: pg_dump is not there, or failed.
    """
    words = ["--format=custom", f"--snapshot={snapshot}"]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [_tool("pg_dump"), *words, f"--dbname={_without_password(url)}"],
            env=_environment(url),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        with process:
            output = cast("IO[bytes]", process.stdout)  # it is a pipe
            try:
                while chunk := output.read(_CHUNK):
                    yield chunk
            except BaseException:
                process.kill()
                raise
        _judge("pg_dump", process.returncode, errors)


def load(url: str, file: Path) -> None:
    """Restore a dump into a database whose roles are there.

    Raises:
        RecoveryError: pg_restore is not there, or failed.
    """
    words = ["--clean", "--if-exists", "--exit-on-error", f"--jobs={os.cpu_count() or 1}"]
    with tempfile.TemporaryFile() as errors:
        ended = subprocess.run(
            [_tool("pg_restore"), *words, f"--dbname={_without_password(url)}", str(file)],
            env=_environment(url),
            stdin=subprocess.DEVNULL,
            stderr=errors,
            check=False,
        )
        _judge("pg_restore", ended.returncode, errors)


def _judge(name: str, code: int, errors: IO[bytes]) -> None:
    if code:
        errors.seek(0)
        told = errors.read(_TOLD).decode(errors="replace").strip()
        raise RecoveryError(f"{name} ended with code {code}: {told}")


def _tool(name: str) -> str:
    newest_first = sorted(installations(), key=lambda one: one.major, reverse=True)
    for one in newest_first:
        if one.tool(name).exists():
            return str(one.tool(name))
    raise RecoveryError(f"this machine has no {name}: uv sync, or apt-get install postgresql")


def _without_password(url: str) -> str:
    """Return a URL for an argument, which every process of the machine can read."""
    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{login.partition(':')[0]}{at}{host}").geturl()


def _environment(url: str) -> dict[str, str]:
    login = urlsplit(url).netloc.rpartition("@")[0]
    password = unquote(login.partition(":")[2])
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8", "PGPASSWORD": password}
