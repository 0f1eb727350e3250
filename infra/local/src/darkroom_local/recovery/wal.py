"""The database at any point in time, in an `Archive`: its files at one moment, and all WAL since.

    bases/<name>/files  what pg_basebackup gives, a tar archive
    bases/<name>/head   a `Base`, as JSON; written last
    wal/<segment>       16 MiB of WAL, deflated, or the history of a timeline
    wal/<segment>.<bytes>  so much of one that is not full yet
    marks/<time>        until when all that was committed is here (microseconds since 1970)

Segments are named as PostgreSQL names them: eight hexadecimal digits each of timeline, and of the
two halves of the place.
"""

import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Final

from darkroom_common.objects.sealed import opened, sealed
from darkroom_local.recovery.archive import Archive, RecoveryError

BASES: Final = "bases"
WAL: Final = "wal"
MARKS: Final = "marks"
SEGMENT_BYTES: Final = 16 << 20
_NAME: Final = re.compile(r"[0-9A-F]{24}(\.[0-9A-F]{8})?|[0-9A-F]{8}\.history")
_SEGMENT: Final = re.compile(r"[0-9A-F]{24}")
_FIRST: Final = re.compile(rb"START WAL LOCATION: [0-9A-F/]+ \(file ([0-9A-F]{24})\)")
_LAST_OF_A_FILE: Final = 0xFF


@dataclass(frozen=True)
class Base:
    """The files of a database, and what is needed to make them whole.

    Attributes:
        name: when it was begun.
        ended: from when on a point in time can be restored (seconds since 1970).
        first: the segment from which on WAL is needed.
        database_bytes: as PostgreSQL keeps it.
        phi_keys: fingerprints of the keys that the rows need, by their ids.
    """

    name: str
    ended: float
    first: str
    database_bytes: int
    phi_keys: dict[str, str]


def is_segment(name: str) -> bool:
    """Tell whether a file is a whole segment."""
    return _SEGMENT.fullmatch(name) is not None


def following(segment: str) -> str:
    """Return the name of the segment after one, on the same timeline."""
    timeline, high, low = segment[:8], int(segment[8:16], 16), int(segment[16:], 16)
    if low == _LAST_OF_A_FILE:
        return f"{timeline}{high + 1:08X}{0:08X}"
    return f"{timeline}{high:08X}{low + 1:08X}"


def first_gap(names: Iterable[str], first: str) -> str | None:
    """Return the first segment from `first` on that is lacking before a later one of its timeline.

    A timeline begins where the one before it was left: there the next may be of either.
    """
    there = sorted(name for name in names if is_segment(name) and name[8:] >= first[8:])
    if not there or there[0][8:] != first[8:]:
        return first if there else None
    for before, after in pairwise(there):
        if before[:8] == after[:8] and following(before) != after:
            return following(before)
    return None


class WalArchive:
    """What an archive has of bases and WAL."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive

    def put(self, name: str, content: bytes) -> None:
        """Keep a segment, a part of one, or a history."""
        purpose = f"backup wal {name}"
        pieces = sealed(self.archive.keys, [zlib.compress(content, 1)], purpose=purpose)
        self.archive.store.put_now(f"{WAL}/{name}", pieces)

    def get(self, name: str) -> bytes:
        """Return it.

        Raises:
            ObjectMissing: it is not kept.
            Unsealable: it is damaged.
        """
        with self.archive.store.open_now(f"{WAL}/{name}") as file:
            pieces = opened(self.archive.keys, file, purpose=f"backup wal {name}")
            return zlib.decompressobj().decompress(b"".join(pieces), SEGMENT_BYTES)

    def names(self, *, after: str = "") -> list[str]:
        """Return the names of segments, parts and histories, after one of them, sorted."""
        keys = self.archive.keys_below(f"{WAL}/", after=after and f"{WAL}/{after}")
        return sorted(name for key in keys if _NAME.fullmatch(name := key.partition("/")[2]))

    def put_part(self, segment: str, content: bytes) -> None:
        """Keep what there is of a segment, in the place of what there was."""
        name = f"{segment}.{len(content):08X}"
        self.put(name, content)
        self.forget_parts(segment, but=name)

    def forget_parts(self, segment: str, *, but: str = "") -> None:
        """Remove the parts of a segment."""
        for key in self.archive.keys_below(f"{WAL}/{segment}."):
            if key != f"{WAL}/{but}":
                self.archive.remove(key)

    def set_mark(self, at: float) -> None:
        """Say that all that was committed until then (seconds since 1970) is here."""
        key = f"{MARKS}/{round(at * 1e6):020}"
        self.archive.store.put_now(key, [b"\n"])
        for other in self.archive.keys_below(f"{MARKS}/"):
            if other < key:
                self.archive.remove(other)

    def mark(self) -> float | None:
        """Return until when (seconds since 1970); None when nothing was ever sent to it."""
        found = self.archive.keys_below(f"{MARKS}/")
        return int(max(found).partition("/")[2]) / 1e6 if found else None

    def put_base(self, name: str, files: Iterable[bytes]) -> str:
        """Keep the files of a base; return the first segment that it needs.

        Raises:
            RecoveryError: they do not say which that is.
        """
        first: list[bytes] = []

        def watched() -> Iterator[bytes]:
            for piece in files:
                if not first:  # backup_label is the first of them
                    found = _FIRST.search(piece)
                    if found is None:
                        raise RecoveryError("pg_basebackup: the files do not begin with a label")
                    first.append(found[1])
                yield piece

        pieces = sealed(self.archive.keys, watched(), purpose=f"backup base {name}")
        self.archive.store.put_now(f"{BASES}/{name}/files", pieces)
        return first[0].decode()

    def put_head(self, base: Base) -> None:
        """Make a base whole."""
        content = [json.dumps(asdict(base)).encode()]
        pieces = sealed(self.archive.keys, content, purpose=f"backup head {base.name}")
        self.archive.store.put_now(f"{BASES}/{base.name}/head", pieces)

    def bases(self) -> list[Base]:
        """Return those that are whole, the oldest first.

        Raises:
            Unsealable: one is damaged, or under another key.
        """
        keys = self.archive.keys_below(f"{BASES}/")
        return [self._head(key.split("/")[1]) for key in sorted(keys) if key.endswith("/head")]

    def _head(self, name: str) -> Base:
        with self.archive.store.open_now(f"{BASES}/{name}/head") as file:
            pieces = opened(self.archive.keys, file, purpose=f"backup head {name}")
            return Base(**json.loads(b"".join(pieces)))

    def files(self, base: Base) -> Iterator[bytes]:
        """Yield the files of a base.

        Raises:
            Unsealable: they are damaged.
        """
        with self.archive.store.open_now(f"{BASES}/{base.name}/files") as file:
            yield from opened(self.archive.keys, file, purpose=f"backup base {base.name}")

    def base_before(self, until: float | None) -> Base:
        """Return the newest base from which a point in time can be reached.

        Raises:
            RecoveryError: there is none.
        """
        fitting = [one for one in self.bases() if until is None or one.ended <= until]
        if not fitting:
            raise RecoveryError(f"{self.archive.place} reaches back to no such time")
        return fitting[-1]

    def forget(self, keep: int) -> int:
        """Remove the bases before the newest `keep`, and WAL that none of those needs.

        Returns:
            how many bases are gone.
        """
        bases = self.bases()
        kept = bases[-keep:]
        for base in bases[:-keep]:
            for part in ("head", "files"):
                self.archive.remove(f"{BASES}/{base.name}/{part}")
        oldest = min(one.first for one in kept)
        for name in self.names():
            if name[:24] < oldest and not name.endswith(".history"):
                self.archive.remove(f"{WAL}/{name}")
        return len(bases) - len(kept)
