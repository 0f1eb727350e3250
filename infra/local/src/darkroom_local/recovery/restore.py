"""Restores a backup into an empty data directory, and compares what is there then."""

import asyncio
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg

from darkroom_common.clock import utc_now
from darkroom_common.index.verification import KEPT
from darkroom_common.objects.directory import sync_directory
from darkroom_common.objects.store import FileSystemStore, ObjectMissing
from darkroom_common.postgres.bootstrap import ROLES, bootstrap
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.seal import Unsealable
from darkroom_local.engines.postgres import PrivatePostgres
from darkroom_local.recovery.archive import Archive, Entry, Head, RecoveryError
from darkroom_local.recovery.backup import AT_ONCE, BATCH, Progress, fingerprints, in_batches
from darkroom_local.recovery.dumping import load
from darkroom_local.stack.keyring import Keyring
from darkroom_local.stack.layout import Layout
from darkroom_local.stack.stack import DATABASE, create_database

_MOST_NAMED: Final = 100


@dataclass
class Compared:
    """What a restored database and its objects say of each other.

    Attributes:
        head: of the generation.
        objects: that were restored.
        damaged: keys of objects that are not as they were kept, or not as their row has them.
        missing: keys that rows name, and that are not there.
        without_row: objects that came after the dump: the reconciler indexes them.
    """

    head: Head
    objects: int = 0
    damaged: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    without_row: int = 0

    @property
    def agrees(self) -> bool:
        """Whether every row has its object, as it was."""
        return not self.damaged and not self.missing


def restore(
    archive: Archive, name: str, data: Path, secrets: Path, *, progress: Progress
) -> Compared:
    """Make a data directory of a generation. Not from within an event loop.

    It is made beside its place, and is there as a whole or not at all.

    Args:
        archive: that has it.
        name: of the generation.
        data: the directory; it is empty, or there is none.
        secrets: a directory with the keys of the installation, in files as of `data/secrets`.
        progress: is told how far it is.

    Raises:
        RecoveryError: the directory is not empty, there is no room, or pg_restore failed.
        KeysLostError: keys that the rows need are not there.
        Unsealable: the manifest or the dump is damaged, or under another key.
        StartError: PostgreSQL does not start.
    """
    if data.is_mount():
        raise RecoveryError(f"{data} is a volume: give a directory within it")
    if data.exists() and any(data.iterdir()):
        raise RecoveryError(f"{data} is not empty")
    with rebuilt(archive, name, data, secrets, progress=progress) as (draft, compared):
        mark_as_copy(draft, name)
        draft.rename(data)
        sync_directory(data.parent)
    return compared


def mark_as_copy(draft: Path, name: str) -> None:
    """Say in a data directory that it is a copy, which may be masked until it is started."""
    said = {"of": name, "at": utc_now().isoformat()}
    Layout(draft).restored.write_text(json.dumps(said))


@contextmanager
def rebuilt(
    archive: Archive, name: str, data: Path, secrets: Path, *, progress: Progress
) -> Iterator[tuple[Path, Compared]]:
    """Hold a restored data directory beside `data`; it is removed unless it was renamed."""
    head = archive.head(name)
    require_keys(head.phi_keys, secrets)
    draft = data.with_name(f".{data.name}.restoring")
    shutil.rmtree(draft, ignore_errors=True)
    layout = Layout(draft)
    layout.make()
    try:
        free, needed = shutil.disk_usage(draft).free, 2 * head.database_bytes + head.objects_bytes
        if free < needed:
            raise RecoveryError(f"{data.parent} has {free} bytes free; this may take {needed}")
        keyring = Keyring(layout)
        keyring.take(secrets)
        yield draft, _rebuild(archive, head, layout, keyring, progress)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def require_keys(needed: dict[str, str], secrets: Path) -> None:
    """Refuse a copy of an installation's keys that lacks one that rows need.

    Raises:
        RecoveryError: it does.
    """
    try:
        text = (secrets / "phi-keys").read_text()
    except OSError as error:
        raise RecoveryError(f"{secrets / 'phi-keys'}: {error.strerror}") from error
    there = fingerprints(PhiKeys.parse(text).keys)
    lacking = sorted(one for one, print_ in needed.items() if there.get(one) != print_)
    if lacking:
        raise RecoveryError(f"{secrets / 'phi-keys'} lacks the keys {', '.join(lacking)} of then")


def _rebuild(
    archive: Archive, head: Head, layout: Layout, keyring: Keyring, progress: Progress
) -> Compared:
    server = PrivatePostgres(layout.postgres, log=layout.log("postgres"))
    with asyncio.Runner() as runner:
        runner.run(server.start())
        try:
            url = server.superuser_url(DATABASE)
            runner.run(create_database(server.superuser_url()))
            passwords = {role: keyring.role_password(role) for role in ROLES}
            runner.run(bootstrap(url, passwords))
            _load(archive, head.name, url, layout.scratch)
            db = runner.run(asyncpg.connect(url, timeout=10))
            try:
                store = FileSystemStore(layout.objects)
                return runner.run(_objects(archive, head, store, db, progress))
            finally:
                runner.run(db.close())
        finally:
            runner.run(server.stop())


def _load(archive: Archive, name: str, url: str, scratch: Path) -> None:
    file = scratch / "database"
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as writer:
            writer.writelines(archive.database(name))
        load(url, file)
    finally:
        file.unlink(missing_ok=True)


async def _objects(
    archive: Archive, head: Head, store: FileSystemStore, db: Any, progress: Progress
) -> Compared:
    """Restore the objects, each held against its row; then look for the object of each row."""
    compared = Compared(head)
    done = 0

    def one(entry: Entry, rows: Sequence[asyncpg.Record]) -> bool:
        try:
            store.put_now(entry.key, _checked(archive, entry, rows))
        except (Unsealable, ObjectMissing):
            return False
        return True

    with ThreadPoolExecutor(AT_ONCE) as pool:

        def all_of(batch: list[Entry], rows: list[list[asyncpg.Record]]) -> list[bool]:
            return list(pool.map(one, batch, rows))

        for batch in in_batches(archive.entries(head.name)):
            rows: dict[str, list[asyncpg.Record]] = {entry.key: [] for entry in batch}
            for row in await db.fetch(KEPT, list(rows)):
                rows[row["object_key"]].append(row)
            sound = await asyncio.to_thread(all_of, batch, [rows[entry.key] for entry in batch])
            for entry, is_sound in zip(batch, sound, strict=True):
                done += entry.size
                compared.objects += is_sound
                compared.without_row += not rows[entry.key]
                if not is_sound:
                    compared.damaged.append(entry.key)
            progress(done, max(done, head.objects_bytes))
    compared.missing = await _missing(db, store, set(compared.damaged))
    return compared


async def objects_of_rows(
    archive: Archive, store: FileSystemStore, db: Any, compared: Compared, progress: Progress
) -> None:
    """Restore the objects that rows name and that are not there yet, each held against its rows."""

    def one(key: str, rows: Sequence[asyncpg.Record]) -> str:
        try:
            store.put_now(key, _checked(archive, Entry(key, -1, ""), rows))
        except Unsealable:
            return "damaged"
        except ObjectMissing:
            return "missing"
        return "restored"

    with ThreadPoolExecutor(AT_ONCE) as pool:

        def all_of(rows: dict[str, list[asyncpg.Record]]) -> list[str]:
            return list(pool.map(one, rows, rows.values()))

        async with db.transaction(readonly=True):
            cursor = await db.cursor(KEPT, None)
            while batch := await cursor.fetch(BATCH):
                rows: dict[str, list[asyncpg.Record]] = {}
                for row in batch:
                    rows.setdefault(row["object_key"], []).append(row)
                lacking = {key: of for key, of in rows.items() if not await _has(store, key)}
                for key, was in zip(lacking, await asyncio.to_thread(all_of, lacking), strict=True):
                    compared.damaged += [key] * (was == "damaged")
                    compared.missing += [key] * (was == "missing")
                    compared.objects += was == "restored"
                progress(compared.objects, compared.objects)


async def _has(store: FileSystemStore, key: str) -> bool:
    try:
        await store.size(key)
    except ObjectMissing:
        return False
    return True


def _checked(archive: Archive, entry: Entry, rows: Sequence[asyncpg.Record]) -> Iterator[bytes]:
    """Yield an object, and raise `Unsealable` at its end unless it is what it has to be.

    Of an entry without a digest its rows alone say that.
    """
    whole, size = hashlib.sha256(), 0
    data_sets = [(row, hashlib.sha256()) for row in rows if row["data_set_offset"] is not None]
    for piece in archive.object(entry.key):
        whole.update(piece)
        for row, digest in data_sets:
            digest.update(piece[max(0, row["data_set_offset"] - size) :])
        size += len(piece)
        yield piece
    if entry.sha256 and (whole.hexdigest(), size) != (entry.sha256, entry.size):
        raise Unsealable("an object is not what the manifest says")
    for row, digest in data_sets:
        if digest.hexdigest() != row["sha256"] or size != row["data_set_offset"] + row["size"]:
            raise Unsealable("an object is not what its row says")


async def _missing(db: Any, store: FileSystemStore, damaged: set[str]) -> list[str]:
    found: list[str] = []
    async with db.transaction():
        async for row in db.cursor(KEPT, None, prefetch=1000):
            key = row["object_key"]
            try:
                await store.size(key)
            except ObjectMissing:
                if key not in damaged:
                    found.append(key)
    return found


def told(compared: Compared) -> Iterator[str]:
    """Yield what people have to know of it, a line each."""
    yield f"the database of {compared.head.name} and {compared.objects} objects were restored"
    if compared.without_row:
        yield (
            f"{compared.without_row} objects have no row, since they came after the dump or were"
            " deleted: darkroom verify --repair, once the stack has run for an hour"
        )
    for what, keys in (("damaged", compared.damaged), ("missing", compared.missing)):
        yield from (f"{what}: {key}" for key in keys[:_MOST_NAMED])
        if len(keys) > _MOST_NAMED:
            yield f"{what}: {len(keys)} in all"
    yield "database and objects agree" if compared.agrees else "database and objects DISAGREE"
