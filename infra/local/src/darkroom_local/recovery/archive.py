"""A directory at another place that backups are kept in; all of it is sealed (AES-256-GCM).

    objects/<key>                an object, once, however many generations have it
    generations/<name>/database  a dump of PostgreSQL in its custom format
    generations/<name>/manifest  JSON lines: a `Head`, then [key, bytes, SHA-256] of each object

A generation is whole when it has its manifest, which is written last. Each file appears under its
name when it is on the medium.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, NamedTuple, Self

from darkroom_common.errors import PermanentError
from darkroom_common.objects.sealed import opened, sealed
from darkroom_common.objects.store import FileSystemStore
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
    """The directory. The keys are apart from it, and from the data."""

    def __init__(self, root: Path, keys: PhiKeys) -> None:
        self.root = root
        self.keys = keys
        self.store = FileSystemStore(root)

    @classmethod
    def open(cls, root: Path, key_file: Path) -> Self:
        """Return an archive with the keys of a file in the form of PHI_KEYS.

        Raises:
            RecoveryError: one of them cannot be read.
        """
        try:
            text = key_file.read_text()
        except OSError as error:
            raise RecoveryError(f"the key, {key_file}: {error.strerror}") from error
        if key_file.resolve().is_relative_to(root.resolve()):
            raise RecoveryError(f"{key_file}: the key is kept apart from what it opens")
        if not root.is_dir():
            raise RecoveryError(f"{root} is no directory: is its volume mounted?")
        return cls(root, PhiKeys.parse(text, setting=str(key_file)))

    def generations(self) -> list[str]:
        """Return the names of those that are whole, the oldest first."""
        return [name for name in self.begun() if (self._folder(name) / "manifest").exists()]

    def begun(self) -> list[str]:
        """Return the names of all, also of those that were interrupted."""
        folder = self.root / GENERATIONS
        return sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []

    def newest(self) -> str:
        """Return the name of the newest.

        Raises:
            RecoveryError: there is none.
        """
        found = self.generations()
        if not found:
            raise RecoveryError(f"{self.root} holds no whole backup")
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

    def has(self, key: str) -> bool:
        """Tell whether an object is kept."""
        return (self.root / OBJECTS / key).exists()

    def forget(self, name: str) -> None:
        """Remove a generation, but for its objects; first it stops being whole."""
        folder = self._folder(name)
        (folder / "manifest").unlink(missing_ok=True)
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()

    def _folder(self, name: str) -> Path:
        return self.root / GENERATIONS / name


def _told(head: Head, entries: Iterable[Entry]) -> Iterator[bytes]:
    yield json.dumps(asdict(head)).encode() + b"\n"
    for entry in entries:
        yield json.dumps(entry).encode() + b"\n"
