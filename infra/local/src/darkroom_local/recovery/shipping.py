"""Sends WAL and new objects to an archive for as long as it runs: what is lost is seconds.

pg_receivewal writes WAL to `scratch` as the server makes it. Every few seconds what is there is
noted, then the objects are copied that any row names by then, then what was noted is sent: so
what the archive has of the database never names an object that it does not have.
"""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import asyncpg

from darkroom_common.clock import monotonic, utc_now
from darkroom_common.objects.store import CHUNK, ObjectMissing
from darkroom_local.engines.lock import DirectoryLock
from darkroom_local.engines.process import Child, Command, reclaim
from darkroom_local.recovery.archive import OBJECTS, RecoveryError
from darkroom_local.recovery.backup import AT_ONCE, Source
from darkroom_local.recovery.changed import Changed
from darkroom_local.recovery.dumping import base_backup, environment, tool, without_password
from darkroom_local.recovery.fencing import Sent, require_unfenced
from darkroom_local.recovery.wal import Base, WalArchive, first_gap, is_segment

SLOT: Final = "darkroom_shipping"
PARTIAL: Final = ".partial"
_SIZE: Final = "SELECT pg_database_size(current_database())"
_HAS: Final = (
    "SELECT coalesce(restart_lsn >= $2::pg_lsn, false) FROM pg_replication_slots"
    " WHERE slot_name = $1"
)
_EMPTY: Final = 64 * 1024
"""Bytes of a segment in which nothing has happened but what PostgreSQL notes of itself."""
_LOOKS: Final = 50
_LOOK_SECONDS: Final = 0.1
_AWAY: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


@dataclass(frozen=True)
class Pace:
    """How often what is done.

    Attributes:
        seconds: between two looks at what is new: so much is lost at most, beside the way.
        switch_seconds: after which a segment is ended that has something in it: only whole ones are
            replayed by who follows.
        base_days: after which the whole database is sent again.
        keep: so many of these are kept, with the WAL since the oldest.
    """

    seconds: float = 10
    switch_seconds: float = 60
    base_days: float = 7
    keep: int = 5


@dataclass
class Shipped:
    """What has been sent since it runs."""

    bases: int = 0
    segments: int = 0
    objects: int = 0


@dataclass
class Shipping:
    """One installation's.

    Args:
        source: what is kept; its login may replicate.
        wal: where it goes.
        scratch: a directory of its own on this machine, which has to stay.
        tell: is told what was sent, a line each.
    """

    source: Source
    wal: WalArchive
    scratch: Path
    pace: Pace
    tell: Callable[[str], None]
    sent: Sent | None = None
    """Where to, and how it stood when this site began to: a fence since then ends it."""
    shipped: Shipped = field(default_factory=Shipped)
    _changed: Changed = field(default_factory=Changed)

    def __post_init__(self) -> None:
        self._files = self.scratch / "wal"
        self._state = self.scratch / "seen.json"
        self._parts: dict[str, int] = {}
        self._newest: float | None = None
        self._switched = monotonic()

    async def run(self) -> None:
        """Send until cancelled.

        Raises:
            RecoveryError: PostgreSQL is away, or its login may not replicate.
            AlreadyRunningError: another process ships from this directory.
            StoreUnavailable: one of the stores failed.
            StartError: pg_receivewal ended.
        """
        self._files.mkdir(parents=True, exist_ok=True)
        with DirectoryLock(self.scratch):
            await reclaim(self.scratch, gently=signal.SIGTERM)
            if self._state.exists():
                self._changed.seen = json.loads(self._state.read_text())
            async with self._receiving() as receiver:
                while True:
                    await self.round()
                    if await asyncio.to_thread(self._wants_base):
                        await self._base()
                    if not receiver.running:
                        raise receiver.failure(f"ended with code {receiver.returncode}")
                    await asyncio.sleep(self.pace.seconds)

    @asynccontextmanager
    async def _receiving(self) -> AsyncIterator[Child]:
        """Have pg_receivewal write to `scratch`; a slot keeps on the server what it has not yet."""
        login = [f"--dbname={without_password(self.source.postgres_url)}", "--no-password"]
        slot = [f"--slot={SLOT}"]
        for more in (
            ["--create-slot", "--if-not-exists"],
            ["--synchronous", "--no-loop", f"--directory={self._files}"],
        ):
            child = await Child.start(
                Command(
                    name="pg_receivewal",
                    arguments=[tool("pg_receivewal"), *login, *slot, *more],
                    directory=self.scratch,
                    log=self.scratch / "pg_receivewal.log",
                    environment=environment(self.source.postgres_url),
                )
            )
            if more[0] == "--create-slot" and await child.wait():
                raise child.failure(f"ended with code {child.returncode}")
        try:
            yield child
        finally:
            await child.stop(signal.SIGINT, seconds=10)

    async def round(self) -> None:
        """Send what there is now.

        Raises:
            Fenced: another site has taken the place of this one.
            RecoveryError, StoreUnavailable: as `run`.
        """
        if self.sent is not None:
            await asyncio.to_thread(require_unfenced, self.wal.archive, self.sent)
        db = await self._connect()
        try:
            now = utc_now().timestamp()
            is_received = await _received(db)
            full, part = await asyncio.to_thread(self._noted)
            await self._copy_objects(db)
            if part is not None and len(part[1]) > _EMPTY and self._is_time_to_switch():
                await db.execute("SELECT pg_switch_wal()")
        except _AWAY as error:
            raise RecoveryError(f"PostgreSQL: {type(error).__name__}") from error
        finally:
            await db.close(timeout=5)
        for name in full:
            await asyncio.to_thread(self._send, name)
        if part is not None and self._parts.get(part[0]) != len(part[1]):
            await asyncio.to_thread(self.wal.put_part, *part)
            self._parts = {part[0]: len(part[1])}
        if is_received:
            await asyncio.to_thread(self.wal.set_mark, now)

    def _is_time_to_switch(self) -> bool:
        now = monotonic()
        is_time = now - self._switched >= self.pace.switch_seconds
        if is_time:
            self._switched = now
        return is_time

    def _noted(self) -> tuple[list[str], tuple[str, bytes] | None]:
        names = sorted(path.name for path in self._files.iterdir())
        full = [name for name in names if is_segment(name) or name.endswith(".history")]
        parts = [name for name in names if name.endswith(PARTIAL)]
        if not parts:
            return full, None
        content = (self._files / parts[-1]).read_bytes().rstrip(b"\0")
        return full, (parts[-1].removesuffix(PARTIAL), content)

    def _send(self, name: str) -> None:
        file = self._files / name
        self.wal.put(name, file.read_bytes())
        self.wal.forget_parts(name)
        file.unlink()
        self.shipped.segments += is_segment(name)

    async def _connect(self) -> Any:
        try:
            return await asyncpg.connect(self.source.postgres_url, timeout=10)
        except _AWAY as error:
            raise RecoveryError(f"PostgreSQL: {type(error).__name__}") from error

    async def _copy_objects(self, db: Any) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:

            def all_of(keys: list[str]) -> int:
                return sum(pool.map(self._copy, keys))

            async for keys in self._changed.batches(db):
                lacking = [key for key in keys if not await self._is_there(key)]
                self.shipped.objects += await asyncio.to_thread(all_of, lacking)
                self._state.write_text(json.dumps(self._changed.seen))

    async def _is_there(self, key: str) -> bool:
        try:
            await self.wal.archive.store.size(f"{OBJECTS}/{key}")
        except ObjectMissing:
            return False
        return True

    def _copy(self, key: str) -> bool:
        def pieces(file: BinaryIO) -> Iterator[bytes]:
            while chunk := file.read(CHUNK):
                yield chunk

        try:
            with self.source.store.open_now(key) as file:
                self.wal.archive.put_object(key, pieces(file))
        except ObjectMissing:  # deleted since
            return False
        return True

    def _wants_base(self) -> bool:
        """Tell whether there is none yet, or an old one; when this begins, also after a gap."""
        if self._newest is not None:
            return utc_now().timestamp() - self._newest > self.pace.base_days * 86_400
        bases = self.wal.bases()
        if not bases:
            return True
        self._newest = bases[-1].ended
        gap = first_gap(self.wal.names(), bases[-1].first)
        if gap is not None:
            self.tell(f"{gap} is lacking: the database is sent as a whole")
        return gap is not None

    async def _base(self) -> None:
        name = f"{utc_now():%Y%m%dT%H%M%S.%fZ}"
        url = self.source.postgres_url
        first = await asyncio.to_thread(lambda: self.wal.put_base(name, base_backup(url)))
        db = await self._connect()
        try:
            size = await db.fetchval(_SIZE)
        finally:
            await db.close()
        # What was going on when it ended is in WAL that is still to be sent.
        ended = utc_now().timestamp()
        self.wal.put_head(Base(name, ended, first, size, self.source.phi_keys))
        self._newest = ended
        self.shipped.bases += 1
        gone = await asyncio.to_thread(self.wal.forget, self.pace.keep)
        self.tell(f"base {name}: {size / 1e6:.0f} MB of database; {gone} older ones removed")


async def _received(db: Any) -> bool:
    """Wait a little until all that is committed now is in `scratch`; tell whether it is."""
    until = await db.fetchval("SELECT pg_current_wal_flush_lsn()")
    for _ in range(_LOOKS):
        if await db.fetchval(_HAS, SLOT, until):
            return True
        await asyncio.sleep(_LOOK_SECONDS)
    return False
