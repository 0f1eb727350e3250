"""Makes a backup: first the database as one moment sees it, then the objects, which never change.

Ingest stores an object before a row names it, and none changes under its key: whatever the dump
names was in the store when the dump was begun, and only what is new has to be copied. What comes
meanwhile is copied as well; the reconciler indexes it after a restore.
"""

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import BinaryIO, Final

import asyncpg

from darkroom_common.clock import utc_now
from darkroom_common.index.verification import NEWEST
from darkroom_common.objects.store import CHUNK, Listed, ObjectMissing, ObjectStore
from darkroom_local.engines.lock import AlreadyRunningError, DirectoryLock
from darkroom_local.recovery.archive import OBJECTS, Archive, Entry, Head, RecoveryError
from darkroom_local.recovery.dumping import dump

AT_ONCE: Final = 4
BATCH: Final = 256
_LOCK: Final = 0x6261636B  # "back"
"""Of PostgreSQL's advisory locks that of a backup."""
Progress = Callable[[int, int], None]
"""Is told the bytes of objects that are done, and of all of them."""


@dataclass(frozen=True)
class Source:
    """What is kept.

    Attributes:
        postgres_url: of a login that may read the whole database.
        store: of the objects.
        phi_keys: fingerprints of the keys that the rows need, by their ids.
    """

    postgres_url: str
    store: ObjectStore
    phi_keys: dict[str, str]


@dataclass(frozen=True)
class BackedUp:
    """What a backup has done."""

    name: str
    objects: int
    copied: int
    copied_bytes: int
    forgotten: int


def fingerprints(keys: dict[int, str]) -> dict[str, str]:
    """Return what tells keys of PHI_KEYS apart, and nothing else of them."""
    return {str(one): hashlib.sha256(key.encode()).hexdigest()[:16] for one, key in keys.items()}


def back_up(source: Source, archive: Archive, *, keep: int, progress: Progress) -> BackedUp:
    """Add a generation, and forget those beyond `keep`. Not from within an event loop.

    One that is interrupted leaves no generation, and the next one need not copy again what it has.

    Raises:
        RecoveryError: there is no room, or PostgreSQL cannot be dumped.
        AlreadyRunningError: another backup is made there.
        Unsealable: the archive is under another key.
        StoreUnavailable: one of the stores failed.
    """
    with _alone(archive), asyncio.Runner() as runner, closing(_Known(runner, archive)) as known:
        copying = _Copying(source.store, archive, known, progress)
        with _snapshot(runner, source.postgres_url) as now:
            _require_room(runner, archive, now.size + copying.measure(runner))
            name = f"{now.taken:%Y%m%dT%H%M%S.%fZ}"
            archive.put_database(name, dump(source.postgres_url, now.id))
        head = Head(
            name=name,
            taken=now.taken.timestamp(),
            newest=now.newest.isoformat() if now.newest else None,
            database_bytes=now.size,
            objects_bytes=copying.total,
            phi_keys=source.phi_keys,
        )
        archive.put_manifest(head, copying.entries(runner))
        forgotten = _forget(runner, archive, keep)
    return BackedUp(name, copying.objects, copying.copied, copying.copied_bytes, forgotten)


def _alone(archive: Archive) -> AbstractContextManager[object]:
    """Hold the directory; of a bucket the database says whether another backup is made."""
    return nullcontext() if archive.directory is None else DirectoryLock(archive.directory)


@dataclass(frozen=True)
class _Snapshot:
    id: str
    taken: datetime
    newest: datetime | None
    size: int


@contextmanager
def _snapshot(runner: asyncio.Runner, url: str) -> Iterator[_Snapshot]:
    """Hold the database as it is now, for pg_dump."""
    try:
        db = runner.run(asyncpg.connect(url, timeout=10))
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise RecoveryError(f"PostgreSQL: {type(error).__name__}") from error
    try:
        if not runner.run(db.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK)):
            raise AlreadyRunningError("another backup of this database is being made")
        transaction = db.transaction(isolation="repeatable_read", readonly=True)
        runner.run(transaction.start())
        yield _Snapshot(
            taken=utc_now(),
            id=runner.run(db.fetchval("SELECT pg_export_snapshot()")),
            newest=runner.run(db.fetchval(NEWEST)),
            size=runner.run(db.fetchval("SELECT pg_database_size(current_database())")),
        )
    finally:
        db.terminate()


def listed(runner: asyncio.Runner, store: ObjectStore, prefix: str = "") -> Iterator[list[Listed]]:
    """Yield the objects of a store, some at a time."""
    listing = store.list_keys(prefix)

    async def some() -> list[Listed]:
        found: list[Listed] = []
        async for one in listing:
            found.append(one)
            if len(found) == BATCH:
                break
        return found

    while batch := runner.run(some()):
        yield batch


class _Known:
    """What an archive has, and what its newest generation says of it: there may be millions."""

    def __init__(self, runner: asyncio.Runner, archive: Archive) -> None:
        self._rows = sqlite3.connect("")  # a temporary file
        self._rows.execute(
            "CREATE TABLE entry (key TEXT PRIMARY KEY, size INTEGER, sha256 TEXT) WITHOUT ROWID"
        )
        self._rows.execute("CREATE TABLE there (key TEXT PRIMARY KEY) WITHOUT ROWID")
        self._rows.execute("CREATE TABLE said (key TEXT PRIMARY KEY) WITHOUT ROWID")
        if earlier := archive.generations():
            entries = archive.entries(earlier[-1])
            self._rows.executemany("INSERT OR REPLACE INTO entry VALUES (?, ?, ?)", entries)
        for batch in listed(runner, archive.store, f"{OBJECTS}/"):
            keys = [(one.key.removeprefix(f"{OBJECTS}/"),) for one in batch]
            self._rows.executemany("INSERT INTO there VALUES (?)", keys)

    def has(self, key: str) -> bool:
        """Tell whether the archive had an object when this was made."""
        found = self._rows.execute("SELECT 1 FROM there WHERE key = ?", (key,))
        return found.fetchone() is not None

    def get(self, key: str) -> Entry | None:
        """Return what it says of one."""
        row = self._rows.execute("SELECT * FROM entry WHERE key = ?", (key,)).fetchone()
        return None if row is None else Entry(*row)

    def first_time(self, key: str) -> bool:
        """Tell whether this is asked for the first time of a key.

        An object that moves to the slow one of two stores meanwhile is listed twice.
        """
        made = self._rows.execute("INSERT OR IGNORE INTO said VALUES (?)", (key,))
        return made.rowcount == 1

    def close(self) -> None:
        """Remove the file."""
        self._rows.close()


class _Copying:
    """Copies what the archive lacks."""

    def __init__(
        self, store: ObjectStore, archive: Archive, known: _Known, progress: Progress
    ) -> None:
        self._store = store
        self._archive = archive
        self._known = known
        self._progress = progress
        self._done = 0
        self.total = 0
        self.objects = 0
        self.copied = 0
        self.copied_bytes = 0

    def measure(self, runner: asyncio.Runner) -> int:
        """Return the bytes of what the archive lacks now."""
        lacking = 0
        for batch in listed(runner, self._store):
            self.total += sum(one.size for one in batch)
            lacking += sum(one.size for one in batch if not self._known.has(one.key))
        return lacking

    def entries(self, runner: asyncio.Runner) -> Iterator[Entry]:
        """Copy, and yield what is in the archive then."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for some in listed(runner, self._store):
                batch = [one for one in some if self._known.first_time(one.key)]
                there = [self._known.has(one.key) for one in batch]
                before = [self._known.get(one.key) for one in batch]
                for entry in pool.map(self._one, batch, there, before):
                    if entry is not None:
                        self.objects += 1
                        self._done += entry.size
                        yield entry
                self._progress(self._done, max(self.total, self._done))

    def _one(self, found: Listed, there: bool, before: Entry | None) -> Entry | None:
        """Have an object in the archive; None when it was removed since it was listed."""
        if there and before is not None:
            return before
        digest = hashlib.sha256()
        size = 0

        def reading(file: BinaryIO) -> Iterator[bytes]:
            nonlocal size
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
                yield chunk

        try:
            with self._store.open_now(found.key) as file:
                if there:  # by a backup that was interrupted
                    for _ in reading(file):
                        pass
                else:
                    self._archive.put_object(found.key, reading(file))
                    self.copied += 1
                    self.copied_bytes += size
        except ObjectMissing:
            return None
        return Entry(found.key, size, digest.hexdigest())


def _require_room(runner: asyncio.Runner, archive: Archive, needed: int) -> None:
    space = runner.run(archive.store.space())
    if space is not None and space.free < needed:
        raise RecoveryError(
            f"{archive.place} has {space.free} bytes free, and the backup may take {needed}"
        )


def _forget(runner: asyncio.Runner, archive: Archive, keep: int) -> int:
    """Remove what is beyond the newest `keep` generations, and what was interrupted."""
    kept = set(archive.generations()[-keep:])
    gone = [name for name in archive.begun() if name not in kept]
    for name in gone:
        archive.forget(name)
    named = {hash(entry.key) for name in kept for entry in archive.entries(name)}
    before = utc_now()
    for batch in listed(runner, archive.store, f"{OBJECTS}/"):
        for one in batch:
            if hash(one.key.removeprefix(f"{OBJECTS}/")) not in named:
                runner.run(_removed(archive, one.key, before))
    return len(gone)


async def _removed(archive: Archive, key: str, before: datetime) -> None:
    await archive.store.remove(key, untouched_since=before)


def in_batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Yield entries, some at a time."""
    rest = iter(entries)
    while batch := list(islice(rest, BATCH)):
        yield batch
