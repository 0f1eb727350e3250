"""The object store as files; `interface.py` says what every kind of store does."""

import asyncio
import fcntl
import os
import shutil
import stat
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote, urlsplit

from darkroom_common.errors import ConfigurationError, PermanentError, Unhealthy
from darkroom_common.objects.cached import CachedReader, open_cached
from darkroom_common.objects.directory import read_part, sync_directory
from darkroom_common.objects.interface import (
    Listed,
    ObjectMissing,
    ObjectStore,
    StoreUnavailable,
    VolumeSpace,
)
from darkroom_common.objects.tiered import TieredStore

__all__ = [
    "CHUNK",
    "FileSystemStore",
    "Listed",
    "ObjectMissing",
    "ObjectStore",
    "StoreUnavailable",
    "VolumeSpace",
    "below",
    "open_store",
]
CHUNK: Final = 1 << 20
_LISTED_AT_ONCE: Final = 256
_DOTTED: Final = frozenset({"", ".", ".."})
_REMEMBERED: Final = 10_000
"""Directories whose names are known to be durable."""


class FileSystemStore:
    """Objects as files under a root, local or mounted."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._durable: dict[Path, tuple[int, int]] = {}
        self._lock = threading.Lock()
        self._cached = CachedReader(CHUNK)

    def at_hand(self, key: str, parts: Sequence[tuple[int, int]]) -> list[bytes] | None:
        """Return parts of an object that are in the page cache."""
        return self._cached.read(self._name(key), parts)

    def open_at_hand(self, key: str, start: int, length: int) -> int | None:
        """Open an object a part of which is in the page cache."""
        return open_cached(self._name(key), start, length)

    def own_file(self, key: str) -> str | None:
        """Return the name of an object's file: itself."""
        return self._name(key)

    def _path(self, key: str) -> Path:
        """Return where an object lives.

        Raises:
            PermanentError: the key would leave the root.
        """
        return Path(self._name(key))

    def _name(self, key: str) -> str:
        """Return the name of an object's file; see `_path`."""
        if "\x00" in key or not _DOTTED.isdisjoint(key.split("/")):
            raise PermanentError("an object key has an empty or dotted part")
        return f"{self._root}/{key}"

    async def put_files(self, files: Sequence[tuple[str, Path]]) -> None:
        """Link (or copy, from another volume) files into place and sync the directories once."""
        try:
            await asyncio.to_thread(self._put, [(self._path(key), source) for key, source in files])
        except OSError as error:
            raise StoreUnavailable(f"object store: {error.strerror}") from error

    def _put(self, files: Sequence[tuple[Path, Path]]) -> None:
        unsure: dict[Path, None] = {}
        prepared: set[Path] = set()
        for target, source in files:
            if target.parent not in prepared:
                unsure |= dict.fromkeys(self._make_directories(target.parent))
                prepared.add(target.parent)
            try:
                os.link(source, target)  # the bytes were synced in the spool
            except FileExistsError:
                with suppress(PermissionError):  # it is of another owner, after a restore
                    os.utime(target)  # wanted once more: `remove` looks at this
            except OSError as error:
                if not source.exists():
                    raise
                del error
                self._copy(source, target)
        # An existing entry may be of a run that died before its sync, so the last directories are
        # always synced; those above them until their names are known to be durable.
        names = {directory: _name_of(directory) for directory in unsure}  # as the sync finds them
        for directory in prepared | {directory.parent for directory in unsure}:
            sync_directory(directory)
        with self._lock:
            if len(self._durable) > _REMEMBERED:
                self._durable.clear()
            self._durable.update(names)

    def _make_directories(self, directory: Path) -> list[Path]:
        """Make what is missing; return those whose names need a sync above.

        Another relay may have made a directory and not have synced it yet.
        """
        if directory == self._root:
            directory.mkdir(parents=True, exist_ok=True)
            return []
        try:
            if self._durable.get(directory) == _name_of(directory):
                return []  # and all that are above it
        except FileNotFoundError:
            above = self._make_directories(directory.parent)
            directory.mkdir(exist_ok=True)
            return [*above, directory]
        return [*self._make_directories(directory.parent), directory]

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        # Named by the source, a receipt: in containers every relay is process 1, and two of them
        # may copy the same object at once. After a crash the same receipt writes over its draft.
        temporary = target.with_name(f".{target.name}.{source.name}.part")
        with source.open("rb") as reader, temporary.open("wb") as writer:
            shutil.copyfileobj(reader, writer, CHUNK)
            writer.flush()
            os.fsync(writer.fileno())
        temporary.rename(target)

    async def stream(
        self, key: str, *, start: int = 0, length: int | None = None, fresh: bool = False
    ) -> AsyncIterator[bytes]:
        """Yield the bytes from `start`, at most `length` of them, a mebibyte at a time."""
        path = self._path(key)
        left = length
        try:
            file = await asyncio.to_thread(path.open, "rb")
            try:
                if fresh:
                    _forget_cached(file)
                if start:
                    file.seek(start)
                while left is None or left > 0:
                    want = CHUNK if left is None else min(CHUNK, left)
                    chunk = await asyncio.to_thread(file.read, want)
                    if not chunk:
                        break
                    if left is not None:
                        left -= len(chunk)
                    yield chunk
                if fresh:
                    _forget_cached(file)
            finally:
                file.close()
        except FileNotFoundError as error:
            raise ObjectMissing(key) from error
        except OSError as error:
            raise StoreUnavailable(f"object store: {error.strerror}") from error

    async def read(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes from `start`, at most `length` of them."""
        return await asyncio.to_thread(self._read, key, start, length)

    def _read(self, key: str, start: int, length: int | None) -> bytes:
        try:
            with self._path(key).open("rb") as file:
                file.seek(start)
                return file.read(-1 if length is None else length)
        except FileNotFoundError as error:
            raise ObjectMissing(key) from error
        except OSError as error:
            raise StoreUnavailable(f"object store: {error.strerror}") from error

    def parts_now(self, key: str, parts: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return parts of an object, each whole, for a thread."""
        with self.open_now(key) as file:
            try:
                return [read_part(file.fileno(), start, length) for start, length in parts]
            except OSError as error:
                raise StoreUnavailable(f"object store: {error.strerror}") from error

    def open_now(self, key: str) -> BinaryIO:
        """Open an object for a thread that parses it: seekable, and it may block."""
        try:
            return self._path(key).open("rb")
        except FileNotFoundError as error:
            raise ObjectMissing(key) from error
        except OSError as error:
            raise StoreUnavailable(f"object store: {error.strerror}") from error

    def put_now(self, key: str, pieces: Iterable[bytes]) -> None:
        """Write a draft beside the object's place, sync it and link it there."""
        self._make(key, pieces, over=False)

    def replace_now(self, key: str, pieces: Iterable[bytes]) -> None:
        """Write a draft beside the object, sync it and give it the object's name."""
        self._make(key, pieces, over=True)

    def _make(self, key: str, pieces: Iterable[bytes], *, over: bool) -> None:
        draft = _draft_of(
            target := self._path(key)
        )  # of a process that died: the next one writes over it
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                try:
                    file.truncate(0)
                    file.writelines(pieces)
                    file.flush()
                    os.fsync(file.fileno())
                    if over:
                        draft.replace(target)
                        sync_directory(target.parent)
                    else:
                        self._put([(target, draft)])
                finally:
                    draft.unlink(missing_ok=True)
        except BlockingIOError as error:
            raise StoreUnavailable("object store: another process makes this object") from error
        except OSError as error:
            raise StoreUnavailable(f"object store: {error.strerror}") from error

    async def remove(self, key: str, *, untouched_since: datetime) -> bool:
        """Unlink the file, unless its name or its bytes are newer."""
        try:
            return await asyncio.to_thread(self._remove, self._path(key), untouched_since)
        except OSError as error:
            raise StoreUnavailable(f"object store: {error.strerror}") from error

    @staticmethod
    def _remove(path: Path, untouched_since: datetime) -> bool:
        try:
            if path.stat().st_ctime >= untouched_since.timestamp():
                return False
            path.unlink()
            sync_directory(path.parent)
        except FileNotFoundError:
            pass
        _forget_draft(_draft_of(path))
        return True

    @asynccontextmanager
    async def local_file(self, key: str) -> AsyncIterator[Path]:
        """Hold an object as a file of this machine: itself. That it is missing, opening it says."""
        yield self._path(key)

    async def size(self, key: str) -> int:
        """Return the size of an object in bytes."""
        try:
            return (await asyncio.to_thread(self._path(key).stat)).st_size
        except FileNotFoundError as error:
            raise ObjectMissing(key) from error
        except OSError as error:
            raise StoreUnavailable(f"object store: {error.strerror}") from error

    async def forget_drafts(self, *, begun_before: datetime) -> int:
        """Find none: each is under a name that whoever does the same again writes over."""
        del begun_before
        return 0

    async def list_keys(self, prefix: str = "", *, after: str = "") -> AsyncIterator[Listed]:
        """Yield the objects in the order of their keys' parts, holding one directory a level.

        A hard link keeps the time of the bytes: the later of that and the link's own counts.
        """
        walk = self._walk(self._root, (), prefix, tuple(after.split("/")) if after else ())
        try:
            while some := await asyncio.to_thread(list, islice(walk, _LISTED_AT_ONCE)):
                for listed in some:
                    yield listed
        except OSError as error:
            raise StoreUnavailable(f"object store: {error.strerror}") from error

    def _walk(
        self, directory: Path, parts: tuple[str, ...], prefix: str, after: tuple[str, ...]
    ) -> Iterator[Listed]:
        """Walk below one directory; `after` is what of the last key lies in it."""
        try:
            with os.scandir(directory) as entries:
                found = sorted((e.name, e.is_dir(follow_symlinks=False)) for e in entries)
        except FileNotFoundError:
            if not parts:
                raise  # the root itself
            return  # removed since its parent was read
        for name, is_directory in found:
            if name.startswith(".") or (after and name < after[0]):
                continue
            key = "/".join((*parts, name))
            if is_directory:
                if key.startswith(prefix) or prefix.startswith(f"{key}/"):
                    rest = after[1:] if after and name == after[0] else ()
                    yield from self._walk(directory / name, (*parts, name), prefix, rest)
            elif key.startswith(prefix) and (not after or name > after[0]):
                try:
                    state = (directory / name).lstat()
                except FileNotFoundError:
                    continue
                if not stat.S_ISREG(state.st_mode):
                    continue
                modified = datetime.fromtimestamp(max(state.st_mtime, state.st_ctime), UTC)
                yield Listed(key, state.st_size, modified)

    async def holds_anything(self) -> bool:
        """Tell whether the root has any entry."""
        try:
            return await asyncio.to_thread(_has_entries, self._root)
        except OSError as error:
            raise StoreUnavailable(f"object store: {error.strerror}") from error

    async def check(self) -> None:
        """Raise `Unhealthy` when the root is not a directory that can be read."""
        if not await asyncio.to_thread(os.access, self._root, os.R_OK | os.X_OK):
            raise Unhealthy("the root of the object store cannot be read")

    async def space(self) -> VolumeSpace:
        """Return the room on the store's volume."""
        try:
            usage = await asyncio.to_thread(shutil.disk_usage, self._root)
        except OSError as error:
            raise StoreUnavailable(f"object store: {error.strerror}") from error
        return VolumeSpace(free=usage.free, total=usage.total)


def _has_entries(directory: Path) -> bool:
    """Tell whether there is anything; what a listing passes over says nothing of a volume."""
    with os.scandir(directory) as entries:
        return any(not entry.name.startswith(".") for entry in entries)


def _name_of(directory: Path) -> tuple[int, int]:
    """Return what tells a directory's name from that of one removed and made again.

    Inodes' numbers are used again: the directory above has changed since, in nanoseconds.
    """
    return directory.stat().st_ino, directory.parent.stat().st_ctime_ns


def _draft_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def _forget_draft(draft: Path) -> None:
    """Remove what a process that died has begun of an object; not what one is at work at."""
    with suppress(FileNotFoundError, BlockingIOError), draft.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.unlink(missing_ok=True)


def _forget_cached(file: BinaryIO) -> None:
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def open_store(url: str, *, setting: str = "STORE_URL") -> ObjectStore:
    """Return the store of a URL, `file:///path` or `s3://bucket/...`, or of two: fast and slow.

    Args:
        url: of the store; of S3 see `s3/location.py`.
        setting: that has said it, for whoever set it wrong.

    Raises:
        ConfigurationError: another scheme, or what the scheme does not take.
    """
    if " " in url:
        return TieredStore.of([open_store(one, setting=setting) for one in url.split()], setting)
    parts = urlsplit(url)
    if parts.scheme == "s3":  # who has files alone need not hold its library in memory
        module = import_module("darkroom_common.objects.s3.store")
        location = import_module("darkroom_common.objects.s3.location").Location
        made: ObjectStore = module.S3Store(location.parse(url, setting=setting))
        return made
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not parts.path:
        raise ConfigurationError(f"{setting} is file:///absolute/path or s3://bucket/prefix")
    root = Path(unquote(parts.path))
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{setting}: cannot make {root}: {error.strerror}") from error
    return FileSystemStore(root)


def below(url: str, name: str) -> str:
    """Return the URL of a store within another one, the fast one of two, under a name."""
    parts = urlsplit(url.split(maxsplit=1)[0])
    return parts._replace(path=f"{parts.path.rstrip('/')}/{name}").geturl()
