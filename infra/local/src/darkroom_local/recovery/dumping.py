"""pg_dump, pg_basebackup and pg_restore, of the newest PostgreSQL that this machine has."""

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
    return _output("pg_dump", url, "--format=custom", f"--snapshot={snapshot}")


def base_backup(url: str) -> Iterator[bytes]:
    """Yield the files of a server that runs, as a tar archive; WAL makes them whole.

    Raises:
        RecoveryError: pg_basebackup is not there, or failed.
    """
    words = ("--pgdata=-", "--format=tar", "--wal-method=none", "--checkpoint=fast")
    return _output("pg_basebackup", url, *words, "--no-manifest", "--no-password")


def _output(name: str, url: str, *words: str) -> Iterator[bytes]:
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [tool(name), *words, f"--dbname={without_password(url)}"],
            env=environment(url),
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
        _judge(name, process.returncode, errors)


def load(url: str, file: Path) -> None:
    """Restore a dump into a database whose roles are there.

    Raises:
        RecoveryError: pg_restore is not there, or failed.
    """
    words = ["--clean", "--if-exists", "--exit-on-error", f"--jobs={os.cpu_count() or 1}"]
    with tempfile.TemporaryFile() as errors:
        ended = subprocess.run(
            [tool("pg_restore"), *words, f"--dbname={without_password(url)}", str(file)],
            env=environment(url),
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


def tool(name: str) -> str:
    """Return the path of a program of PostgreSQL.

    Raises:
        RecoveryError: this machine does not have it.
    """
    newest_first = sorted(installations(), key=lambda one: one.major, reverse=True)
    for one in newest_first:
        if one.tool(name).exists():
            return str(one.tool(name))
    raise RecoveryError(f"this machine has no {name}: uv sync, or apt-get install postgresql")


def without_password(url: str) -> str:
    """Return a URL for an argument, which every process of the machine can read."""
    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{login.partition(':')[0]}{at}{host}").geturl()


def environment(url: str) -> dict[str, str]:
    """Return the environment of a program of PostgreSQL that logs in by a URL."""
    login = urlsplit(url).netloc.rpartition("@")[0]
    password = unquote(login.partition(":")[2])
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8", "PGPASSWORD": password}
