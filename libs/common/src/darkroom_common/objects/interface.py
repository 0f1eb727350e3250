"""The object store: immutable objects under keys.

An object is a DICOM file (PS3.10): preamble, file meta, then the data set byte for byte as it was
received, or as an operator had it corrected. Nothing is ever overwritten: a key carries the digest
of what it names.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from darkroom_common.errors import DependencyUnavailable, PermanentError


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

    def open_at_hand(self, key: str, start: int, length: int) -> int | None:
        """Return a descriptor of an object a part of which is in memory, for the caller to close.

        None where that cannot be done: then it is read.
        """
        ...

    def parts_now(self, key: str, parts: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return parts of an object, each whole, for a thread that may wait.

        Args:
            key: of the object.
            parts: the first byte and the number of bytes of each.

        Raises:
            ObjectMissing: there is none.
            StoreUnavailable: the store is away, or the object is shorter.
        """
        ...

    def at_hand(self, key: str, parts: Sequence[tuple[int, int]]) -> list[bytes] | None:
        """Return parts of an object that are in memory, for an event loop: it never waits.

        None says nothing of the object: `read` has to be asked.

        Args:
            key: of the object.
            parts: the first byte and the number of bytes of each; `CHUNK` in all at most.
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

    def own_file(self, key: str) -> str | None:
        """Return the name of the file that an object is, if it is one, for an event loop.

        None says nothing of the object: `local_file` has to be asked. That the object is missing,
        opening the file says.

        Raises:
            PermanentError: this cannot be a key.
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

    def put_now(self, key: str, pieces: Iterable[bytes]) -> None:
        """Make an object of bytes, for a thread; a key that exists already is left as it is.

        When it returns, the object is durable; when it does not, there is none, or all of it.

        Raises:
            StoreUnavailable: nothing can be said of it; do it again. What `pieces` raises passes.
        """
        ...

    def replace_now(self, key: str, pieces: Iterable[bytes]) -> None:
        """Write over an object that is damaged, for a thread: readers see the one or the other.

        Raises:
            StoreUnavailable: nothing can be said of it; do it again. What `pieces` raises passes.
        """
        ...

    async def remove(self, key: str, *, untouched_since: datetime) -> bool:
        """Delete an object for good; one that is not there is deleted.

        What a process that died has begun of it (`put_now`) goes, too.

        Args:
            key: of the object.
            untouched_since: it stays when it was put, or put once more, after this moment.

        Returns:
            Whether it is gone.

        Raises:
            StoreUnavailable: the store is away.
        """
        ...

    async def forget_drafts(self, *, begun_before: datetime) -> int:
        """Remove what processes that died have begun of objects, and nobody will take up.

        Args:
            begun_before: what was begun later may be at work still.

        Returns:
            How many there were.

        Raises:
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
