"""The object store in a bucket; `interface.py` says what every kind of store does."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Final, TypeVar

from darkroom_common.errors import PermanentError, Unhealthy
from darkroom_common.objects.interface import Listed, StoreUnavailable, VolumeSpace
from darkroom_common.objects.s3.client import AT_ONCE, Client, NotThere
from darkroom_common.objects.s3.location import Location
from darkroom_common.objects.s3.reading import Reader
from darkroom_common.objects.s3.uploads import Uploads

_PUT_AT_ONCE: Final = 4
"""Objects of one call: each may have a part in memory."""
_LISTED_AT_ONCE: Final = 256
_DOTTED: Final = frozenset({"", ".", ".."})
_T = TypeVar("_T")


class S3Store:
    """Objects in a bucket, below a prefix."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._client = Client(location)
        self._reader = Reader(self._client)
        self._uploads = Uploads(self._client, self._reader)
        # Its threads wait for the network: those of the loop's own pool would be too few.
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="s3")

    def _name(self, key: str) -> str:
        """Return the whole name of an object.

        Raises:
            PermanentError: the key would leave the prefix.
        """
        if "\x00" in key or not _DOTTED.isdisjoint(key.split("/")):
            raise PermanentError("an object key has an empty or dotted part")
        return f"{self._location.prefix}{key}"

    async def _run(self, function: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    async def put_files(self, files: Sequence[tuple[str, Path]]) -> None:
        """Put each file, some at once; all are tried before an error is told."""
        named = [(self._name(key), source) for key, source in files]
        gate = asyncio.Semaphore(_PUT_AT_ONCE)

        async def put(name: str, source: Path) -> None:
            async with gate:
                await self._run(partial(self._uploads.put_file, name, source))

        done = await asyncio.gather(*(put(*one) for one in named), return_exceptions=True)
        for error in done:
            if isinstance(error, OSError):
                raise StoreUnavailable(f"spool: {error.strerror}") from error
            if error is not None:
                raise error

    async def stream(
        self, key: str, *, start: int = 0, length: int | None = None, fresh: bool = False
    ) -> AsyncIterator[bytes]:
        """Yield the bytes from `start`, at most `length` of them; all are fresh."""
        del fresh
        chunks = self._reader.chunks(self._name(key), start, length)
        while chunk := await self._run(partial(next, chunks, b"")):
            yield chunk

    async def read(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes from `start`, at most `length` of them."""
        return await self._run(partial(self._reader.read, self._name(key), start, length))

    def parts_now(self, key: str, parts: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return parts of an object, each whole, for a thread."""
        return self._reader.parts(self._name(key), parts)

    def open_at_hand(self, key: str, start: int, length: int) -> int | None:
        """Return None: it is elsewhere."""
        del key, start, length
        return None

    def at_hand(self, key: str, parts: Sequence[tuple[int, int]]) -> list[bytes] | None:
        """Return None: it is elsewhere."""
        del key, parts
        return None

    async def size(self, key: str) -> int:
        """Return the size of an object in bytes."""
        return await self._run(partial(self._reader.size, self._name(key)))

    def open_now(self, key: str) -> BinaryIO:
        """Open an object for a thread that parses it: seekable, and it may block."""
        return self._reader.open(self._name(key))

    def own_file(self, key: str) -> str | None:
        """Return nothing: an object of a bucket is no file."""
        del key
        return None

    @asynccontextmanager
    async def local_file(self, key: str) -> AsyncIterator[Path]:
        """Hold a copy of an object in the directory for temporary files."""
        name = self._name(key)
        with TemporaryDirectory(prefix="darkroom-object-") as directory:
            path = Path(directory) / "object"
            await self._run(partial(self._copy, name, path))
            yield path

    def _copy(self, name: str, path: Path) -> None:
        try:
            with os.fdopen(
                os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "wb"
            ) as file:
                file.writelines(self._reader.chunks(name, 0, None))
        except OSError as error:
            raise StoreUnavailable(f"temporary files: {error.strerror}") from error

    def put_now(self, key: str, pieces: Iterable[bytes]) -> None:
        """Put the bytes, in parts when they are many."""
        self._uploads.put_pieces(self._name(key), pieces)

    def replace_now(self, key: str, pieces: Iterable[bytes]) -> None:
        """Put the bytes over what is there."""
        self._uploads.put_pieces(self._name(key), pieces, over=True)

    async def remove(self, key: str, *, untouched_since: datetime) -> bool:
        """Delete it unless it is newer; a store tells times in whole seconds."""
        return await self._run(partial(self._remove, self._name(key), untouched_since))

    def _remove(self, name: str, untouched_since: datetime) -> bool:
        try:
            there = self._client.call("head_object", Key=name)
            if there["LastModified"] >= untouched_since.replace(microsecond=0):
                return False
            self._client.call("delete_object", Key=name)
        except NotThere:
            pass
        self._uploads.sweep(untouched_since, name)
        return True

    async def forget_drafts(self, *, begun_before: datetime) -> int:
        """Give up uploads in parts that a process that died has begun."""
        sweep = partial(self._uploads.sweep, begun_before, self._location.prefix)
        return await self._run(sweep)

    async def list_keys(self, prefix: str = "", *, after: str = "") -> AsyncIterator[Listed]:
        """Yield the objects in the order of the store: by the bytes of keys, as a rule."""
        listing = self._listing(prefix, after)
        while some := await self._run(lambda: list(islice(listing, _LISTED_AT_ONCE))):
            for one in some:
                yield one

    def _listing(self, prefix: str, after: str) -> Iterator[Listed]:
        begin = self._location.prefix
        behind = {"StartAfter": f"{begin}{after}"} if after else {}
        given = {"Prefix": f"{begin}{prefix}", "PaginationConfig": {"PageSize": _LISTED_AT_ONCE}}
        for page in self._client.pages("list_objects_v2", **given, **behind):
            for one in page.get("Contents", []):
                key = one["Key"].removeprefix(begin)
                if not any(part.startswith(".") for part in key.split("/")):
                    yield Listed(key, one["Size"], one["LastModified"])

    async def holds_anything(self) -> bool:
        """Tell whether there is an object."""
        return await self._run(lambda: next(self._listing("", ""), None)) is not None

    async def check(self) -> None:
        """Raise `Unhealthy` when the bucket cannot be listed."""
        ask = partial(self._client.call, "list_objects_v2", MaxKeys=1, Prefix=self._location.prefix)
        try:
            await self._run(ask)
        except (StoreUnavailable, NotThere) as error:
            raise Unhealthy(f"the bucket of the object store: {error}") from error

    async def space(self) -> VolumeSpace | None:
        """Return None: a bucket has no bounds; one that is away says so."""
        ask = partial(self._client.call, "head_bucket")
        try:
            await self._run(ask)
        except NotThere as error:
            raise StoreUnavailable("object store: there is no such bucket") from error
        return None
