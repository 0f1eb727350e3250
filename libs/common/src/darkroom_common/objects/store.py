"""The object store: immutable objects under keys.

An object is a DICOM file (PS3.10): preamble, file meta, then the data set byte for byte as it was
received. Nothing is ever overwritten: a key carries the digest of what it names.
"""

import asyncio
import os
import shutil
import stat
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from darkroom_common.errors import ConfigurationError, DependencyUnavailable, PermanentError
from darkroom_common.health import Unhealthy
from darkroom_common.objects.directory import sync_directory

CHUNK: Final = 1 << 20
_LISTED_AT_ONCE: Final = 256
_REMEMBERED: Final = 10_000
"""Directories whose names are known to be durable."""


class ObjectMissing(PermanentError):
    """No object has this key."""


class StoreUnavailable(DependencyUnavailable):
    """The store cannot be reached, is full or failed to sync."""


@dataclass(frozen=True)
class VolumeSpace:
    """Room on the volume, in bytes."""

    free: int
    total: int


class Listed(NamedTuple):
    """One object as a listing shows it."""

    key: str
    size: int
    """Bytes of the whole object."""
    modified: datetime
    """When it came to be where it is, as far as the store knows."""


class ObjectStore(Protocol):
    """What every kind of store does. Offsets and lengths are bytes."""

    async def put_files(self, files: Sequence[tuple[str, Path]]) -> None:
        """Make local files durable objects; a key that exists already is left as it is.

        Raises:
            StoreUnavailable: nothing can be said of any of them; do it again.
        """
        ...

    def stream(
        self, key: str, *, start: int = 0, length: int | None = None, fresh: bool = False
    ) -> AsyncIterator[bytes]:
        """Yield the bytes from `start`, at most `length` of them.

        With `fresh` they come from the medium, as far as that can be had, not from a cache, and
        leave none behind: to see what is really kept.

        Raises:
            ObjectMissing: at the first step.
            StoreUnavailable: at any step.
        """
        ...

    async def read(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes from `start`, at most `length` of them.

        Raises:
            ObjectMissing: there is none.
            StoreUnavailable: the store is away.
        """
        ...

    async def size(self, key: str) -> int:
        """Return the size of an object in bytes.

        Raises:
            ObjectMissing: there is none.
        """
        ...

    def open_now(self, key: str) -> BinaryIO:
        """Open an object for a thread that parses it: seekable, and it may block.

        Raises:
            ObjectMissing: there is none.
            StoreUnavailable: the store is away.
        """
        ...

    def local_file(self, key: str) -> AbstractAsyncContextManager[Path]:
        """Hold an object as a file of this machine: for `sendfile`, or for another process.

        It is read only, and there for the length of the block: the object itself where it is a
        file, a copy of it otherwise.

        Raises:
            ObjectMissing: there is none; where the object itself is the file, opening it says so.
            StoreUnavailable: the store is away.
        """
        ...

    def list_keys(self, prefix: str = "", *, after: str = "") -> AsyncIterator[Listed]:
        """Yield the objects whose keys begin with `prefix`, in the store's own fixed order.

        What is added or removed meanwhile may be in it or not; drafts never are.

        Args:
            prefix: the beginning of the keys.
            after: a key that an earlier listing gave, to go on behind it.

        Raises:
            StoreUnavailable: at any step.
        """
        ...

    async def holds_anything(self) -> bool:
        """Tell whether there is anything at all: a volume that is not mounted holds nothing.

        Raises:
            StoreUnavailable: the store is away.
        """
        ...

    async def check(self) -> None:
        """Raise `Unhealthy` when the store cannot be used."""
        ...

    async def space(self) -> VolumeSpace | None:
        """Return the room that there is; None in a store without bounds.

        Raises:
            StoreUnavailable: the store is away.
        """
        ...


class FileSystemStore:
    """Objects as files under a root, local or mounted."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._durable: set[tuple[Path, int]] = set()
        self._lock = threading.Lock()

    def _path(self, key: str) -> Path:
        """Return where an object lives.

        Raises:
            PermanentError: the key would leave the root.
        """
        parts = key.split("/")
        if any(part in ("", ".", "..") or "\x00" in part for part in parts):
            raise PermanentError("an object key has an empty or dotted part")
        return self._root.joinpath(*parts)

    async def put_files(self, files: Sequence[tuple[str, Path]]) -> None:
        """Link (or copy, from another volume) files into place and sync the directories once."""
        try:
            await asyncio.to_thread(self._put, [(self._path(key), source) for key, source in files])
        except OSError as error:
            raise StoreUnavailable(f"object store: {error.strerror}") from error

    def _put(self, files: Sequence[tuple[Path, Path]]) -> None:
        made: list[tuple[Path, int]] = []
        prepared: set[Path] = set()
        for target, source in files:
            if target.parent not in prepared:
                made += self._make_directories(target.parent)
                prepared.add(target.parent)
            try:
                os.link(source, target)  # the bytes were synced in the spool
            except FileExistsError:
                pass
            except OSError as error:
                if not source.exists():
                    raise
                del error
                self._copy(source, target)
        # An existing entry may be of a run that died before its sync, so the last directories are
        # always synced; those above them until their names are known to be durable.
        for directory in prepared | {directory.parent for directory, _ in made}:
            sync_directory(directory)
        with self._lock:
            if len(self._durable) > _REMEMBERED:
                self._durable.clear()
            self._durable.update(made)

    def _make_directories(self, directory: Path) -> list[tuple[Path, int]]:
        """Make what is missing; return (directory, inode) of those whose names need a sync above.

        Another relay may have made a directory and not have synced it yet. The inode tells it from
        one that was removed and made again.
        """
        if directory == self._root:
            directory.mkdir(parents=True, exist_ok=True)
            return []
        try:
            known = (directory, directory.stat().st_ino)
        except FileNotFoundError:
            above = self._make_directories(directory.parent)
            directory.mkdir(exist_ok=True)
            return [*above, (directory, directory.stat().st_ino)]
        if known in self._durable:
            return []  # and all that are above it
        return [*self._make_directories(directory.parent), known]

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

    def open_now(self, key: str) -> BinaryIO:
        """Open an object for a thread that parses it: seekable, and it may block."""
        try:
            return self._path(key).open("rb")
        except FileNotFoundError as error:
            raise ObjectMissing(key) from error
        except OSError as error:
            raise StoreUnavailable(f"object store: {error.strerror}") from error

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

    async def list_keys(self, prefix: str = "", *, after: str = "") -> AsyncIterator[Listed]:
        """Yield the objects in the order of their keys' parts, holding one directory a level.

        A hard link keeps the time of the bytes: the later of that and the link's own counts.
        """
        walk = self._walk(self._root, (), prefix, tuple(after.split("/")) if after else ())
        try:
            while some := await asyncio.to_thread(_some, walk):
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


def _some(walk: Iterator[Listed]) -> list[Listed]:
    return list(islice(walk, _LISTED_AT_ONCE))


def _has_entries(directory: Path) -> bool:
    with os.scandir(directory) as entries:
        return next(entries, None) is not None


def _forget_cached(file: BinaryIO) -> None:
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def open_store(url: str) -> ObjectStore:
    """Return the store that a URL names: `file:///path` today.

    Raises:
        ConfigurationError: another scheme, or a path that is not absolute.
    """
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not parts.path:
        raise ConfigurationError("STORE_URL is file:///absolute/path")
    root = Path(unquote(parts.path))
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"STORE_URL: cannot make {root}: {error.strerror}") from error
    return FileSystemStore(root)
