"""An object store without files: what passes the suite of stores only by their interface."""

import io
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from darkroom_common.errors import PermanentError, Unhealthy
from darkroom_common.objects.store import (
    CHUNK,
    Listed,
    ObjectMissing,
    StoreUnavailable,
    VolumeSpace,
)


class MemoryStore:
    """Objects as bytes; `away` makes everything fail."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, datetime]] = {}
        self.away = False

    def _require(self) -> None:
        if self.away:
            raise StoreUnavailable("away")

    def _content(self, key: str) -> bytes:
        self._require()
        if any(part in ("", ".", "..") or "\x00" in part for part in key.split("/")):
            raise PermanentError("an object key has an empty or dotted part")
        try:
            return self._objects[key][0]
        except KeyError:
            raise ObjectMissing(key) from None

    def own_file(self, key: str) -> str | None:
        del key
        return None

    async def put_files(self, files: Sequence[tuple[str, Path]]) -> None:
        for key, source in files:
            try:
                self._content(key)
                self._objects[key] = (self._objects[key][0], datetime.now(UTC))
            except ObjectMissing:
                try:
                    self._objects[key] = (source.read_bytes(), datetime.now(UTC))
                except OSError as error:
                    raise StoreUnavailable(str(error.strerror)) from error

    def put_now(self, key: str, pieces: Iterable[bytes]) -> None:
        content = b"".join(pieces)
        with suppress(ObjectMissing):
            content = self._content(key)
        self._objects[key] = (content, datetime.now(UTC))

    def replace_now(self, key: str, pieces: Iterable[bytes]) -> None:
        self._require()
        self._objects[key] = (b"".join(pieces), datetime.now(UTC))

    async def remove(self, key: str, *, untouched_since: datetime) -> bool:
        try:
            self._content(key)
        except ObjectMissing:
            return True
        if self._objects[key][1] >= untouched_since:
            return False
        del self._objects[key]
        return True

    async def stream(
        self, key: str, *, start: int = 0, length: int | None = None, fresh: bool = False
    ) -> AsyncIterator[bytes]:
        del fresh
        data = await self.read(key, start=start, length=length)
        for at in range(0, len(data), CHUNK):
            yield data[at : at + CHUNK]

    async def read(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        return self._content(key)[start : None if length is None else start + length]

    def parts_now(self, key: str, parts: Sequence[tuple[int, int]]) -> list[bytes]:
        data = self._content(key)
        if any(start + length > len(data) for start, length in parts):
            raise StoreUnavailable("shorter")
        return [data[start : start + length] for start, length in parts]

    def open_at_hand(self, key: str, start: int, length: int) -> int | None:
        return None

    def at_hand(self, key: str, parts: Sequence[tuple[int, int]]) -> list[bytes] | None:
        if self.away or key not in self._objects:
            return None
        data = self._objects[key][0]
        found = [data[start : start + length] for start, length in parts]
        whole = all(len(one) == length for one, (_, length) in zip(found, parts, strict=True))
        return found if whole else None

    async def size(self, key: str) -> int:
        return len(self._content(key))

    def open_now(self, key: str) -> BinaryIO:
        return io.BytesIO(self._content(key))

    @asynccontextmanager
    async def local_file(self, key: str) -> AsyncIterator[Path]:
        content = self._content(key)
        with TemporaryDirectory() as directory:
            copy = Path(directory) / "object"
            copy.write_bytes(content)
            yield copy

    async def forget_drafts(self, *, begun_before: datetime) -> int:
        return 0

    async def list_keys(self, prefix: str = "", *, after: str = "") -> AsyncIterator[Listed]:
        self._require()
        for key in sorted(self._objects, key=lambda one: one.split("/")):
            if key.startswith(prefix) and (not after or key.split("/") > after.split("/")):
                content, modified = self._objects[key]
                yield Listed(key, len(content), modified)

    async def holds_anything(self) -> bool:
        self._require()
        return bool(self._objects)

    async def check(self) -> None:
        if self.away:
            raise Unhealthy("away")

    async def space(self) -> VolumeSpace | None:
        self._require()
        return None
