"""A private PostgreSQL that is made of a base and WAL: up to a point in time, or following on.

Nothing of its login is known here: it was another server's. So it is spoken to by a socket that
only its own user can reach, and passwords are made anew once it is a server of its own.
"""

import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, cast

import asyncpg

from darkroom_common.postgres.bootstrap import ROLES, bootstrap
from darkroom_local.engines.postgres import SUPERUSER, PrivatePostgres
from darkroom_local.engines.process import unprivileged_account
from darkroom_local.recovery.archive import RecoveryError
from darkroom_local.recovery.wal import SEGMENT_BYTES, Base, WalArchive, first_gap, is_segment
from darkroom_local.stack.keyring import Keyring, new_password, write_secret
from darkroom_local.stack.layout import Layout
from darkroom_local.stack.stack import DATABASE

LONGEST: Final = 24 * 3600.0
"""Seconds that WAL may be replayed for."""
_WAL: Final = "restored-wal"
_RULES: Final = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
_SIGNALS: Final = ("recovery.signal", "standby.signal")


class Replaying:
    """The server of one data directory.

    Args:
        layout: of the directory.
        wal: where base and WAL come from.
    """

    def __init__(self, layout: Layout, wal: WalArchive) -> None:
        self.layout = layout
        self.wal = wal
        self.data = layout.postgres / "data"
        restored = self.data / _WAL
        names = [file.name for file in restored.iterdir()] if restored.is_dir() else []
        self._fetched = max(filter(is_segment, names), default="")
        self._socket = Path(tempfile.mkdtemp(prefix="dk-"))
        account = unprivileged_account("postgres", "nobody")
        if account:
            os.chown(self._socket, account.uid, account.gid)
        self._account = account
        rules = layout.postgres / "replaying-hba.conf"
        layout.postgres.mkdir(parents=True, exist_ok=True)
        layout.postgres.chmod(0o711 if account else 0o700)
        rules.write_text(_RULES)
        rules.chmod(0o644)
        self._settings = {
            "restore_command": f"cp {_WAL}/%f %p",
            "unix_socket_directories": str(self._socket),
            "hba_file": str(rules),
            "archive_mode": "off",
            "log_statement": "none",  # whatever it was: passwords are set
            "ssl": "off",
        }
        self.server: PrivatePostgres | None = None

    def close(self) -> None:
        """Remove what only a running server needs."""
        shutil.rmtree(self._socket, ignore_errors=True)
        (self.layout.postgres / "replaying-hba.conf").unlink(missing_ok=True)

    def unpack(self, base: Base) -> None:
        """Make the files of a base, without WAL.

        Raises:
            RecoveryError: it has files outside of its directory.
            Unsealable: it is damaged.
        """
        self.data.mkdir(mode=0o700)
        with tarfile.open(
            fileobj=cast("IO[bytes]", _Pieces(self.wal.files(base))), mode="r|"
        ) as tar:
            for member in tar:
                parts = Path(member.name).parts
                if ".." in parts or member.name.startswith("/"):
                    raise RecoveryError(f"{base.name}: {member.name} is no file of a database")
                place = self.data / member.name
                if member.isdir():
                    place.mkdir(mode=0o700, parents=True, exist_ok=True)
                elif member.isfile():
                    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    with place.open("wb") as file:
                        shutil.copyfileobj(cast("IO[bytes]", tar.extractfile(member)), file)
                    place.chmod(0o600)
                else:
                    raise RecoveryError(f"{base.name}: tablespaces are not restored")
        (self.data / _WAL).mkdir(mode=0o700)

    def fetch(self, base: Base, *, last: bool) -> int:
        """Fetch WAL that is not here yet; with `last`, the beginning of a segment, too.

        Returns:
            how many files.
        """
        count = 0
        names = self.wal.names(after=self._fetched)
        names = [name for name in names if name[:24] >= base.first or "." in name]
        whole = {name for name in names if is_segment(name)}
        if self._fetched and (gap := first_gap([*whole, self._fetched], self._fetched)):
            raise RecoveryError(f"{gap} is not kept any more: begin anew with an empty directory")
        for name in names:
            segment = name[:24]
            is_part = not is_segment(name) and not name.endswith(".history")
            if is_part and (not last or segment in whole or segment < base.first):
                continue
            target = self.data / _WAL / (segment if is_part else name)
            if name.endswith(".history") and target.exists():
                continue
            content = self.wal.get(name)
            if is_part:
                content = content.ljust(SEGMENT_BYTES, b"\0")
            draft = target.with_suffix(".new")
            draft.write_bytes(content)
            draft.chmod(0o600)
            if self._account:
                os.chown(draft, self._account.uid, self._account.gid)
            draft.replace(target)
            if is_segment(name):
                self._fetched = name
            count += 1
        return count

    async def start(self, *, until: datetime | None = None, follow: bool = False) -> None:
        """Start the server.

        One that follows is ready when it can be asked, one that does not when it is at the end.

        Args:
            until: the point in time; None: as far as there is WAL.
            follow: whether it goes on replaying, and answers questions meanwhile.

        Raises:
            StartError: it does not reach that point; its log says why.
        """
        for name in _SIGNALS:
            (self.data / name).unlink(missing_ok=True)
        signal = self.data / ("standby.signal" if follow else "recovery.signal")
        signal.touch(mode=0o600)
        if self._account:  # the server gives it all else of the directory
            os.chown(signal, self._account.uid, self._account.gid)
        settings = dict(self._settings)
        if follow:
            # No less than the server had that all this comes from.
            settings |= {"hot_standby": "on", "max_connections": "1000"}
            settings |= {"max_worker_processes": "64", "max_wal_senders": "64"}
            settings |= {"max_prepared_transactions": "1000", "max_locks_per_transaction": "1024"}
        else:
            settings |= {"hot_standby": "off", "recovery_target_action": "promote"}
        if until is not None:
            settings["recovery_target_time"] = until.astimezone(UTC).isoformat(sep=" ")
        log = self.layout.log("postgres")
        self.server = PrivatePostgres(self.layout.postgres, log=log, settings=settings)
        await self.server.start(seconds=LONGEST)

    async def stop(self) -> None:
        """Stop it; harmless when it does not run."""
        if self.server is not None:
            await self.server.stop()
            self.server = None

    async def connect(self) -> Any:
        """Return a connection of the superuser."""
        server = self._running()
        return await asyncpg.connect(
            host=str(self._socket), port=server.port, user=SUPERUSER, database=DATABASE, timeout=10
        )

    async def forget_replayed(self, db: Any) -> None:
        """Remove WAL that it would not even need after a crash."""
        needed = await db.fetchval("SELECT redo_wal_file FROM pg_control_checkpoint()")
        for file in (self.data / _WAL).iterdir():
            if re.fullmatch(r"[0-9A-F]{24}", file.name) and file.name[8:] < needed[8:]:
                file.unlink()

    async def take_over(self, keyring: Keyring) -> str:
        """Give the server, which follows nobody any more, passwords; return the superuser's URL."""
        server = self._running()
        password = new_password()
        db = await self.connect()
        try:
            await db.execute(f"ALTER ROLE {SUPERUSER} PASSWORD '{password}'")
        finally:
            await db.close()
        write_secret(self.layout.postgres / "superuser-password", password)
        url = server.superuser_url(DATABASE)
        await bootstrap(url, {role: keyring.role_password(role) for role in ROLES})
        shutil.rmtree(self.data / _WAL, ignore_errors=True)
        return url

    def _running(self) -> PrivatePostgres:
        if self.server is None:
            raise RecoveryError("the server does not run")
        return self.server


class _Pieces:
    """Bytes that come in pieces, as something to read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = bytearray()

    def read(self, size: int) -> bytes:
        """Return `size` bytes, or what is left."""
        while len(self._held) < size and (piece := next(self._pieces, None)) is not None:
            self._held += piece
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken
