"""The quarantine of a spool: what was refused, kept for an operator to look at.

    quarantine/<receipt>       the bytes, behind a head of ours, as a DICOM file
    quarantine/<receipt>.json  why, and what the sender was told
    quarantine/actions.jsonl   what operators have released and discarded

The receiving processes only add; commands only take away, one at a time. Every step may be cut by
a crash and done again. Everything here blocks.
"""

import fcntl
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from darkroom_common.clock import monotonic, utc_now, wall_seconds
from darkroom_common.errors import DarkroomError, TransientError
from darkroom_common.objects.directory import sync_directory

UNKNOWN: Final = "unknown"
_ID: Final = re.compile(r"^[0-9a-f]{32}$")
_NOTE: Final = ".json"
_NEW: Final = ".new"
_ACTIONS: Final = "actions.jsonl"
_BLOCK: Final = 4096
_NOTE_AGE: Final = 60.0  # seconds; a younger note may be about to get its file
_LEAST_SECONDS: Final = 5.0
_LOOK_SHARE: Final = 20
"""Looking at all files takes at most one part in so many of the time."""
_COPY: Final = 1 << 20


class QuarantineFull(DarkroomError):
    """There is no room for more: the limit of the quarantine is reached."""


class NotQuarantined(DarkroomError):
    """No object of this id stands in quarantine."""


class Busy(TransientError):
    """Another command is at work on the quarantine."""


@dataclass(frozen=True)
class Usage:
    """How much stands in quarantine; bytes as the volume counts them."""

    items: int
    bytes: int


@dataclass(frozen=True)
class Entry:
    """One object in quarantine."""

    id: str
    reason: str
    at: datetime
    size: int
    """Bytes of the file, head included."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """What else the note says: status, AE, UIDs, the byte where it broke."""


def on_disk(size: int) -> int:
    """Return what a file and its note take of a volume, about."""
    return (size + _BLOCK - 1) // _BLOCK * _BLOCK + _BLOCK


class Quarantine:
    """The quarantine directory of one spool.

    Args:
        directory: it is made by the spool.
        limit: bytes, as `Usage` counts them; beyond it nothing is added. None: no limit.
    """

    def __init__(self, directory: Path, limit: int | None = None) -> None:
        self.directory = directory
        self._limit = limit
        self._lock = threading.Lock()
        self._used = 0
        self._look_at = float("-inf")

    # --- adding ------------------------------------------------------------------------------

    def admit(self, size: int) -> None:
        """Count one more object of so many bytes in.

        Other processes add too, so that the limit may be passed by what they add in a few seconds.

        Raises:
            QuarantineFull: it has no room.
        """
        if self._limit is None:
            return
        with self._lock:
            if monotonic() >= self._look_at:
                began = monotonic()
                self._used = self.usage().bytes
                took = monotonic() - began
                self._look_at = began + max(_LEAST_SECONDS, took * _LOOK_SHARE)
            if self._used + on_disk(size) > self._limit:
                raise QuarantineFull("the limit of the quarantine is reached")
            self._used += on_disk(size)

    def add(self, path: Path, receipt_id: str, note: Mapping[str, object]) -> None:
        """Move a file in, whose bytes are synced, after its note.

        Raises:
            OSError: the volume does not take it.
        """
        target = self.directory / receipt_id
        _write_durably(target.with_suffix(_NOTE), json.dumps(note).encode())
        path.rename(target)
        sync_directory(self.directory)

    # --- looking -----------------------------------------------------------------------------

    def usage(self) -> Usage:
        """Count what is there."""
        items = size = 0
        with os.scandir(self.directory) as found:
            for one in found:
                if _ID.match(one.name):
                    try:
                        size += on_disk(one.stat(follow_symlinks=False).st_size)
                    except FileNotFoundError:
                        continue
                    items += 1
        return Usage(items, size)

    def ids(self) -> set[str]:
        """Return the ids of all."""
        return {path.name for path in self.directory.iterdir() if _ID.match(path.name)}

    def entries(self) -> list[Entry]:
        """Return all, the oldest first."""
        found = []
        for name in sorted(path.name for path in self.directory.iterdir()):
            if _ID.match(name):
                try:
                    found.append(self.entry(name))
                except NotQuarantined:
                    continue  # released or discarded meanwhile
        return sorted(found, key=lambda entry: entry.at)

    def entry(self, receipt_id: str) -> Entry:
        """Return one.

        Raises:
            NotQuarantined: there is none of this id.
        """
        path = self.path(receipt_id)
        try:
            state = path.stat()
        except FileNotFoundError as error:
            raise NotQuarantined(f"nothing in quarantine has the id {receipt_id}") from error
        note = _read_note(path.with_suffix(_NOTE))
        at = datetime.fromtimestamp(state.st_mtime, UTC)
        if "at" in note:
            at = datetime.fromisoformat(note.pop("at"))
        return Entry(receipt_id, note.pop("reason", UNKNOWN), at, state.st_size, note)

    def path(self, receipt_id: str) -> Path:
        """Return where the bytes of an object are.

        Raises:
            NotQuarantined: it is no id.
        """
        if not _ID.match(receipt_id):
            raise NotQuarantined(f"{receipt_id!a} is no id of the quarantine")
        return self.directory / receipt_id

    # --- taking away -------------------------------------------------------------------------

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other commands out for the length of a block, and clear what a crash has left.

        Raises:
            Busy: another command is at work.
        """
        lock = os.open(self.directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Busy("another command is at work on the quarantine") from error
            self._tidy()
            yield
        finally:
            os.close(lock)

    def _tidy(self) -> None:
        for path in self.directory.iterdir():
            alone = path.suffix == _NOTE and not path.with_suffix("").exists()
            if path.suffix == _NEW or (alone and wall_seconds() - path.stat().st_mtime > _NOTE_AGE):
                path.unlink()

    def replace_head(self, receipt_id: str, head: bytes, *, offset: int) -> None:
        """Put another head before the data set, which starts at `offset`; all of it or nothing.

        Raises:
            OSError: the volume does not take it.
        """
        path = self.path(receipt_id)
        new = path.with_suffix(_NEW)
        with path.open("rb") as old, new.open("wb") as file:
            file.write(head)
            old.seek(offset)
            while piece := old.read(_COPY):
                file.write(piece)
            file.flush()
            times = os.fstat(old.fileno())
            os.utime(file.fileno(), ns=(times.st_atime_ns, times.st_mtime_ns))
            os.fsync(file.fileno())
        new.rename(path)
        sync_directory(self.directory)

    def release(self, receipt_id: str, ready: Path) -> None:
        """Move an object into the `ready` directory, in one step; then forget why it was here.

        Raises:
            OSError: the volume does not take it.
        """
        path = self.path(receipt_id)
        path.rename(ready / receipt_id)
        sync_directory(ready)
        path.with_suffix(_NOTE).unlink(missing_ok=True)
        sync_directory(self.directory)

    def discard(self, receipt_id: str) -> None:
        """Delete an object and its note for good.

        Raises:
            NotQuarantined: there is none of this id.
        """
        path = self.path(receipt_id)
        try:
            path.unlink()
        except FileNotFoundError as error:
            raise NotQuarantined(f"nothing in quarantine has the id {receipt_id}") from error
        path.with_suffix(_NOTE).unlink(missing_ok=True)
        sync_directory(self.directory)

    def record(self, action: str, entry: Entry, **more: object) -> None:
        """Write down what an operator does, before it is done."""
        line = {
            "at": utc_now().isoformat(),
            "action": action,
            "receipt": entry.id,
            "reason": entry.reason,
            "size": entry.size,
            "user": os.getuid(),
            **more,
        }
        with (self.directory / _ACTIONS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read_note(path: Path) -> dict[str, Any]:
    try:
        note = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}  # the bytes are what matters: they are listed without a reason
    return note if isinstance(note, dict) else {}
