"""A directory or a bucket at another place, for backups; all of it is sealed (AES-256-GCM).

    objects/<key>                an object, once, however many generations have it
    generations/<name>/database  a dump of PostgreSQL in its custom format
    generations/<name>/manifest  JSON lines: a `Head`, then [key, bytes, SHA-256] of each object
    bases/, wal/                 the database at any point in time (`wal.py`)

A generation is whole when it has its manifest, which is written last. Each file appears under its
name when it is on the medium.
"""

import asyncio
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple, Self

from darkroom_common.errors import PermanentError
from darkroom_common.objects.sealed import opened, sealed
from darkroom_common.objects.store import FileSystemStore, ObjectStore, open_store
from darkroom_common.postgres.phi import PhiKeys

GENERATIONS: Final = "generations"
OBJECTS: Final = "objects"


class RecoveryError(PermanentError):
    """A backup, restore or drill that cannot be done; the text says why."""


class Entry(NamedTuple):
    """An object of a generation."""

    key: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Head:
    """What a generation says of itself.

    Attributes:
        name: of the generation.
        taken: when the database was as it is in the dump (seconds since 1970).
        newest: when the newest image in the dump was received (ISO 8601); None: there is none.
        database_bytes: of the database as PostgreSQL keeps it.
        objects_bytes: of the objects that there were when it began.
        phi_keys: fingerprints of the keys that the rows need, by their ids.
    """

    name: str
    taken: float
    newest: str | None
    database_bytes: int
    objects_bytes: int
    phi_keys: dict[str, str]


class Archive:
    """The place. The keys are apart from it, and from the data.

    Attributes:
        place: what it is called in what people read; no secret.
        directory: of one that is files; None: it is in a bucket.
    """

    def __init__(
        self, store: ObjectStore, keys: PhiKeys, *, place: str, directory: Path | None
    ) -> None:
        self.store = store
        self.keys = keys
        self.place = place
        self.directory = directory

    @classmethod
    def open(cls, place: Path | str, key_file: Path) -> Self:
        """Return an archive with the keys of a file in the form of PHI_KEYS.

        Args:
            place: a directory, or the URL of a bucket (`objects/s3/location.py`).
            key_file: of the keys.

        Raises:
            RecoveryError: one of them cannot be read.
            ConfigurationError: the URL cannot be used.
        """
        try:
            text = key_file.read_text()
        except OSError as error:
            raise RecoveryError(f"the key, {key_file}: {error.strerror}") from error
        keys = PhiKeys.parse(text, setting=str(key_file))
        if is_bucket(place):
            store = open_store(str(place), setting="the place of backups")
            return cls(store, keys, place=str(place).partition("?")[0], directory=None)
        root = Path(place)
        if key_file.resolve().is_relative_to(root.resolve()):
            raise RecoveryError(f"{key_file}: the key is kept apart from what it opens")
        if not root.is_dir():
            raise RecoveryError(f"{root} is no directory: is its volume mounted?")
        return cls(FileSystemStore(root), keys, place=str(root), directory=root)

    def generations(self) -> list[str]:
        """Return the names of those that are whole, the oldest first."""
        return sorted(name for name, part in self._parts() if part == "manifest")

    def begun(self) -> list[str]:
        """Return the names of all, also of those that were interrupted."""
        if self.directory is None:
            return sorted({name for name, _ in self._parts()})
        folder = self.directory / GENERATIONS
        return sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []

    def _parts(self) -> list[list[str]]:
        """Return what generations there are parts of."""
        return [key.split("/")[1:] for key in self.keys_below(f"{GENERATIONS}/")]

    def keys_below(self, prefix: str, *, after: str = "") -> list[str]:
        """Return the keys with a prefix that come after one of them; within an event loop, too."""

        async def listed() -> list[str]:
            return [one.key async for one in self.store.list_keys(prefix, after=after)]

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, listed()).result()

    def remove(self, key: str) -> None:
        """Remove what has a key, if it is there; within an event loop, too.

        Raises:
            StoreUnavailable: the archive is away.
        """
        removal = self.store.remove(key, untouched_since=datetime.max.replace(tzinfo=UTC))
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, removal).result()

    def newest(self) -> str:
        """Return the name of the newest.

        Raises:
            RecoveryError: there is none.
        """
        found = self.generations()
        if not found:
            raise RecoveryError(f"{self.place} holds no whole backup")
        return found[-1]

    def put_database(self, name: str, dump: Iterable[bytes]) -> None:
        """Keep a dump."""
        content = sealed(self.keys, dump, purpose=f"backup database {name}")
        self.store.put_now(f"{GENERATIONS}/{name}/database", content)

    def database(self, name: str) -> Iterator[bytes]:
        """Yield a dump.

        Raises:
            Unsealable: it is damaged.
        """
        with self.store.open_now(f"{GENERATIONS}/{name}/database") as file:
            yield from opened(self.keys, file, purpose=f"backup database {name}")

    def put_manifest(self, head: Head, entries: Iterable[Entry]) -> None:
        """Make a generation whole, as soon as `entries` has ended."""
        content = sealed(self.keys, _told(head, entries), purpose=f"backup manifest {head.name}")
        self.store.put_now(f"{GENERATIONS}/{head.name}/manifest", content)

    def head(self, name: str) -> Head:
        """Return what a generation says of itself.

        Raises:
            Unsealable: it is damaged, or under another key.
        """
        return Head(**json.loads(next(self._lines(name))))

    def entries(self, name: str) -> Iterator[Entry]:
        """Yield the objects of a generation, in the order of their keys' parts.

        Raises:
            Unsealable: it is damaged.
        """
        lines = self._lines(name)
        next(lines)
        for line in lines:
            yield Entry(*json.loads(line))

    def _lines(self, name: str) -> Iterator[bytes]:
        held = b""
        with self.store.open_now(f"{GENERATIONS}/{name}/manifest") as file:
            for piece in opened(self.keys, file, purpose=f"backup manifest {name}"):
                *whole, held = (held + piece).split(b"\n")
                yield from whole

    def put_object(self, key: str, content: Iterable[bytes]) -> None:
        """Keep an object."""
        pieces = sealed(self.keys, content, purpose=f"backup object {key}")
        self.store.put_now(f"{OBJECTS}/{key}", pieces)

    def object(self, key: str) -> Iterator[bytes]:
        """Yield an object.

        Raises:
            ObjectMissing: it is not kept.
            Unsealable: it is damaged.
        """
        with self.store.open_now(f"{OBJECTS}/{key}") as file:
            yield from opened(self.keys, file, purpose=f"backup object {key}")

    def forget(self, name: str) -> None:
        """Remove a generation, but for its objects; first it stops being whole.

        Raises:
            StoreUnavailable: the archive is away.
        """
        for part in ("manifest", "database"):
            self.remove(f"{GENERATIONS}/{name}/{part}")
        if self.directory is not None and (folder := self.directory / GENERATIONS / name).is_dir():
            folder.rmdir()


def is_bucket(place: Path | str) -> bool:
    """Tell whether a place of backups is the URL of a bucket."""
    return str(place).startswith("s3:")


def _told(head: Head, entries: Iterable[Entry]) -> Iterator[bytes]:
    yield json.dumps(asdict(head)).encode() + b"\n"
    for entry in entries:
        yield json.dumps(entry).encode() + b"\n"
