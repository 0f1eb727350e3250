"""Restores a point in time of what `shipping` sends; follows it, and takes its place (STO-09)."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import asyncpg

from darkroom_common.clock import monotonic, utc_now
from darkroom_common.objects.directory import sync_directory
from darkroom_common.objects.store import FileSystemStore, ObjectMissing
from darkroom_local.engines.lock import AlreadyRunningError, DirectoryLock
from darkroom_local.engines.process import StartError
from darkroom_local.recovery.archive import Archive, Head, RecoveryError
from darkroom_local.recovery.backup import Progress
from darkroom_local.recovery.changed import Changed
from darkroom_local.recovery.fencing import raise_fence
from darkroom_local.recovery.replaying import Replaying
from darkroom_local.recovery.restore import Compared, mark_as_copy, objects_of_rows, require_keys
from darkroom_local.recovery.wal import Base, WalArchive
from darkroom_local.stack.keyring import Keyring
from darkroom_local.stack.layout import Layout

_NO_LATER: Final = "recovery ended before configured recovery target was reached"
_REPLAYED: Final = "SELECT pg_last_xact_replay_timestamp()"
_LOOK_SECONDS: Final = 0.2
_END_SECONDS: Final = 120.0


@dataclass(frozen=True)
class Reached:
    """What was restored.

    Attributes:
        compared: what database and objects say of each other.
        lost_seconds: how long ago the archive was complete, when this was begun: RPO; of a point
            in time that was asked for, how long ago that is.
        seconds: that it took: RTO.
    """

    compared: Compared
    lost_seconds: float
    seconds: float

    def __str__(self) -> str:
        """Say it in a line."""
        verdict = "database and objects agree" if self.compared.agrees else "DISAGREE"
        return f"{verdict}, RPO {self.lost_seconds:.1f} s, RTO {self.seconds:.1f} s"


@contextmanager
def rebuilt_at(
    archive: Archive, until: datetime | None, data: Path, secrets: Path, *, progress: Progress
) -> Iterator[tuple[Path, Reached]]:
    """Hold a data directory as of a point in time beside `data`, as `rebuilt` does.

    Args:
        archive: that has bases and WAL.
        until: the point in time; None: the newest that there is.
        data: what it is to be.
        secrets: a copy of the installation's keys.
        progress: is told how far it is.

    Raises:
        RecoveryError: there is nothing of that time, no room, or a key is lacking.
        KeysLostError, Unsealable, StartError: as `restore`.
    """
    began, now = monotonic(), utc_now()
    wal = WalArchive(archive)
    base = wal.base_before(None if until is None else until.timestamp())
    reaches = wal.mark() or base.ended
    if until is not None and until.timestamp() > reaches:
        raise RecoveryError(f"{archive.place} reaches to {datetime.fromtimestamp(reaches, UTC)}")
    require_keys(base.phi_keys, secrets)
    draft = data.with_name(f".{data.name}.restoring")
    shutil.rmtree(draft, ignore_errors=True)
    layout = Layout(draft)
    layout.make()
    try:
        _require_room(draft, base)
        keyring = Keyring(layout)
        keyring.take(secrets)
        compared = asyncio.run(_rebuild(Replaying(layout, wal), base, until, keyring, progress))
        lost = now.timestamp() - (reaches if until is None else until.timestamp())
        yield draft, Reached(compared, lost, monotonic() - began)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def restore_at(
    archive: Archive, until: datetime | None, data: Path, secrets: Path, *, progress: Progress
) -> Reached:
    """Make a data directory as of a point in time. Not from within an event loop.

    Raises:
        RecoveryError: the directory is not empty, or as `rebuilt_at`.
        KeysLostError, Unsealable, StartError: as `restore`.
    """
    if data.exists() and (data.is_mount() or any(data.iterdir())):
        raise RecoveryError(f"{data} is not empty, or a volume: give an empty directory within it")
    with rebuilt_at(archive, until, data, secrets, progress=progress) as (draft, reached):
        mark_as_copy(draft, str(until or "latest"))
        draft.rename(data)
        sync_directory(data.parent)
    return reached


def _require_room(place: Path, base: Base) -> None:
    free, needed = shutil.disk_usage(place).free, 2 * base.database_bytes
    if free < needed:
        raise RecoveryError(f"{place.parent} has {free} bytes free; this may take {needed}")


async def _rebuild(
    replaying: Replaying, base: Base, until: datetime | None, keyring: Keyring, progress: Progress
) -> Compared:
    try:
        await asyncio.to_thread(replaying.unpack, base)
        await asyncio.to_thread(replaying.fetch, base, last=True)
        return await _promoted(replaying, base, until, keyring, progress)
    finally:
        await replaying.stop()
        replaying.close()


async def _promoted(
    replaying: Replaying, base: Base, until: datetime | None, keyring: Keyring, progress: Progress
) -> Compared:
    """Replay to the end, have the server be one of its own, and restore what rows name."""
    try:
        await replaying.start(until=until)
    except StartError as error:
        if until is None or _NO_LATER not in str(error):
            raise
        await replaying.stop()
        await replaying.start()  # nothing was committed after that time: it is the end of WAL
    url = await replaying.take_over(keyring)
    db = await asyncpg.connect(url, timeout=10)
    try:
        taken = until or await db.fetchval(_REPLAYED) or datetime.fromtimestamp(base.ended, UTC)
        name = f"{base.name} and WAL until {taken:%Y-%m-%d %H:%M:%S} UTC"
        size = base.database_bytes
        compared = Compared(Head(name, taken.timestamp(), None, size, 0, base.phi_keys))
        store = FileSystemStore(replaying.layout.objects)
        await objects_of_rows(replaying.wal.archive, store, db, compared, progress)
        return compared
    finally:
        await db.close()


class Standby:
    """A data directory at another site that follows an archive until it takes the place.

    Args:
        archive: that is sent to.
        data: the directory, which is this standby's alone.
        secrets: a copy of the installation's keys.
    """

    def __init__(self, archive: Archive, data: Path, secrets: Path) -> None:
        self.wal = WalArchive(archive)
        self.layout = Layout(data)
        self._secrets = secrets
        self._record = self.layout.postgres / "base.json"

    async def follow(self, *, seconds: float, tell: Callable[[str], None]) -> None:
        """Follow until cancelled.

        Raises:
            RecoveryError: WAL that it needs is not kept any more, or a key is lacking.
            AlreadyRunningError: another process works in the directory.
            StartError: PostgreSQL ended.
        """
        async with self._held() as (replaying, base):
            starting = asyncio.create_task(replaying.start(follow=True))
            try:
                while not starting.done():
                    await asyncio.to_thread(replaying.fetch, base, last=False)
                    await asyncio.wait([starting], timeout=_LOOK_SECONDS)
                starting.result()
                tell("follows")
                changed, store = Changed(), FileSystemStore(self.layout.objects)
                while True:
                    count = await asyncio.to_thread(replaying.fetch, base, last=False)
                    objects = await self._round(replaying, changed, store)
                    if count or objects:
                        behind = utc_now().timestamp() - (self.wal.mark() or base.ended)
                        tell(f"{count} files of WAL, {objects} objects; {behind:.0f} s behind")
                    await asyncio.sleep(seconds)
            finally:
                starting.cancel()
                with suppress(asyncio.CancelledError):
                    await starting

    async def _round(self, replaying: Replaying, changed: Changed, store: FileSystemStore) -> int:
        db = await replaying.connect()
        count = 0
        try:
            async for keys in changed.batches(db):
                count += await asyncio.to_thread(self._copy, keys, store)
            await replaying.forget_replayed(db)
        finally:
            await db.close()
        return count

    def _copy(self, keys: list[str], store: FileSystemStore) -> int:
        """Copy what the archive has; what it lacks is told when this takes the place."""
        count = 0
        for key in keys:
            if not (self.layout.objects / key).exists():
                with suppress(ObjectMissing):
                    store.put_now(key, self.wal.archive.object(key))
                    count += 1
        return count

    def would(self) -> str:
        """Say what it would come to if this took the place now; nothing is changed.

        Raises:
            RecoveryError: the place has nothing that could be taken over, or cannot be read.
        """
        base = self.wal.base_before(None)
        behind = utc_now().timestamp() - (self.wal.mark() or base.ended)
        size = f"{base.database_bytes / 1e9:.3f} GB"
        has = "it follows" if self._record.exists() else f"it has not followed: {size} to fetch"
        return f"what came in the last {behind:.0f} s would be lost; {has}"

    async def take_place(self, *, progress: Progress) -> Reached:
        """Be what is followed no longer: replay what there is, promote, compare, raise a fence.

        Raises:
            RecoveryError, StartError: as `follow`.
            AlreadyRunningError: what follows here does not end.
        """
        began, now = monotonic(), utc_now().timestamp()
        await self._end_following()
        async with self._held() as (replaying, base):
            lost = now - (self.wal.mark() or base.ended)
            await asyncio.to_thread(replaying.fetch, base, last=True)
            keyring = Keyring(self.layout)
            compared = await _promoted(replaying, base, None, keyring, progress)
        await asyncio.to_thread(raise_fence, self.wal.archive)
        self._record.unlink()
        return Reached(compared, lost, monotonic() - began)

    async def _end_following(self) -> None:
        """End the process that follows in this directory, if there is one."""
        deadline, told = monotonic() + _END_SECONDS, set[str]()
        while True:
            lock = DirectoryLock(self.layout.data)
            try:
                lock.acquire()
            except AlreadyRunningError:
                if monotonic() > deadline:
                    raise
                owner = (self.layout.data / "lock").read_text().strip()
                if owner.isdigit() and owner not in told:
                    told.add(owner)  # once: it has a server to stop
                    with suppress(ProcessLookupError):
                        os.kill(int(owner), signal.SIGTERM)
                await asyncio.sleep(_LOOK_SECONDS)
            else:
                lock.release()
                return

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[tuple[Replaying, Base]]:
        """Hold the directory with the files of a base, unpacked once."""
        self.layout.make()
        with DirectoryLock(self.layout.data):
            replaying = Replaying(self.layout, self.wal)
            try:
                base = await asyncio.to_thread(self._base, replaying)
                yield replaying, base
            finally:
                await replaying.stop()
                replaying.close()

    def _base(self, replaying: Replaying) -> Base:
        if self._record.exists():
            return Base(**json.loads(self._record.read_text()))
        if replaying.data.exists() and (self.layout.postgres / "superuser-password").exists():
            raise RecoveryError(f"{self.layout.data} is an installation of its own")
        base = self.wal.base_before(None)
        require_keys(base.phi_keys, self._secrets)
        _require_room(self.layout.data, base)
        shutil.rmtree(replaying.data, ignore_errors=True)  # one that was not finished
        Keyring(self.layout).take(self._secrets)
        replaying.unpack(base)
        self._record.write_text(json.dumps(asdict(base)))
        return base
