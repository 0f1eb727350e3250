"""The spool: where received bytes become durable before they are answered.

    tmp/<run>/<n>/<receipt>   while it is written, in a directory of each worker of each run
    ready/<receipt>       fsynced and renamed, the directory fsynced: the guarantee holds from here
    quarantine/<receipt>  bytes that could not be accepted, with a `.json` that says why

A file in `ready` is a complete DICOM file whose head names the AE titles, so that after a crash it
says by itself all that its receipt needs. Everything here blocks and is thread safe; it is called
from the threads that receive.
"""

import fcntl
import os
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from darkroom_common.clock import utc_now
from darkroom_common.errors import ConfigurationError, DarkroomError
from darkroom_common.objects.directory import OpenDirectory, sync_directory
from darkroom_common.objects.quarantine import Quarantine
from darkroom_common.objects.receipt import Receipt, ReceiptReader
from darkroom_common.objects.writeback import begin_to_write

_IOV_MAX: Final = 1024  # parts of one system call, <limits.h>
_READ: Final = 1 << 20


class SpoolFailed(DarkroomError):
    """The volume did not take the bytes. After a failed fsync only a restart helps."""


class GroupSync:
    """Shares directory fsyncs: whoever arrives while one runs is served by the next."""

    def __init__(self, directory: OpenDirectory) -> None:
        self._directory = directory
        self._condition = threading.Condition()
        self._wanted = 0
        self._done = 0
        self._running = False
        self._failed: OSError | None = None

    def sync(self) -> None:
        """Return when an fsync that began after this call has ended.

        Raises:
            OSError: it failed, now or before; it is never tried again.
        """
        with self._condition:
            self._wanted += 1
            ticket = self._wanted
            while self._running and self._done < ticket:
                self._condition.wait()
            if self._failed is not None:
                raise self._failed
            if self._done >= ticket:
                return
            self._running = True
            covers = self._wanted
        failure: OSError | None = None
        try:
            self._directory.sync()
        except OSError as error:
            failure = error
        with self._condition:
            self._running = False
            self._failed = failure
            self._done = covers
            self._condition.notify_all()
        if failure is not None:
            raise failure


@dataclass
class Incoming:
    """One file that is being written in `tmp`."""

    receipt_id: str
    descriptor: int
    is_open: bool = True

    def close(self) -> None:
        """Close it, once."""
        if self.is_open:
            self.is_open = False
            os.close(self.descriptor)


class Spool:
    """One spool directory, used by one process and its workers at a time.

    Args:
        root: the directory.
        worker: the name of a worker, `<run>/<number>`, which has a `tmp` of its own in a spool that
            its main process has opened; `ready` and `quarantine` are the same for all, since ids
            are unique.
        quarantine_limit: bytes that may stand in quarantine; None: any.
        joins: whether another process may have it: then this one receives into it, too, and what
            only one may do is for whoever has it; see `own`.
    """

    def __init__(
        self,
        root: Path,
        *,
        worker: str | None = None,
        quarantine_limit: int | None = None,
        joins: bool = False,
    ) -> None:
        self.root = root
        self.run = uuid.uuid4().hex if worker is None else worker.partition("/")[0]
        self.tmp = root / "tmp" / (worker or self.run)
        self.ready = root / "ready"
        self.quarantine = root / "quarantine"
        self.aside = Quarantine(self.quarantine, quarantine_limit)
        self._failed = ""
        self._being_written: set[str] = set()
        self._lock: int | None = None
        self._run_lock: int | None = None
        self.is_owned = False
        """Whether this process alone may do what only one may."""
        try:
            for directory in (root, root / "tmp", self.ready, self.quarantine):
                directory.mkdir(parents=True, exist_ok=True)
            if worker is None:
                self._lock = os.open(root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                self.is_owned = self._take()
                if not (self.is_owned or joins):
                    raise ConfigurationError(f"SPOOL {root}: another process uses it")
                self._run_lock = _begin_run(root / "tmp", self.tmp)
            else:
                self.tmp.mkdir(parents=True, exist_ok=True)
                _clear(self.tmp)
            sync_directory(root)
            self._writing, self._committed = OpenDirectory(self.tmp), OpenDirectory(self.ready)
        except OSError as error:
            raise ConfigurationError(f"SPOOL {root}: {error.strerror}") from error
        self._group = GroupSync(self._committed)

    def _take(self) -> bool:
        if self._lock is None:
            return False
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def own(self) -> bool:
        """Take the spool for what only one process may do, unless another has it."""
        self.is_owned = self.is_owned or self._take()
        return self.is_owned

    def disown(self) -> None:
        """Leave it to another process; this one may go on receiving."""
        self.is_owned = False
        if self._lock is not None:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def fail(self, reason: str) -> None:
        """Take nothing more: another process of this spool has seen the volume fail."""
        self._failed = self._failed or reason

    @property
    def failed(self) -> str:
        """Why the spool takes nothing more until a restart; empty while it works."""
        return self._failed

    def free_bytes(self) -> int:
        """Return the room on the volume that this process may use."""
        return self._committed.free_bytes()

    def total_bytes(self) -> int:
        """Return the size of the volume."""
        state = os.statvfs(self.root)
        return state.f_blocks * state.f_frsize

    def begin(self) -> Incoming:
        """Open a new file in `tmp`.

        Raises:
            SpoolFailed: the volume does not take it.
        """
        if self._failed:
            raise SpoolFailed(self._failed)
        receipt_id = uuid.uuid4().hex
        try:
            incoming = Incoming(receipt_id, self._writing.create(receipt_id))
        except OSError as error:
            raise SpoolFailed(f"spool: {error.strerror}") from error
        self._being_written.add(receipt_id)
        return incoming

    def _close(self, incoming: Incoming) -> None:
        self._being_written.discard(incoming.receipt_id)
        incoming.close()

    def write(self, incoming: Incoming, *parts: bytes | memoryview) -> None:
        """Append bytes, in one system call where the volume takes them at once.

        Raises:
            SpoolFailed: the volume is full or fails; the file is to be abandoned.
        """
        descriptor = incoming.descriptor
        left = [memoryview(part) for part in parts if len(part)]
        try:
            while left:
                written = os.writev(descriptor, left[:_IOV_MAX])
                while left and written >= len(left[0]):
                    written -= len(left.pop(0))
                if written:
                    left[0] = left[0][written:]
            if len(self._being_written) == 1:  # alone it waits for the volume; several fill it
                begin_to_write(descriptor)
        except OSError as error:
            raise SpoolFailed(f"spool: {error.strerror}") from error

    def truncate(self, incoming: Incoming, size: int) -> None:
        """Cut a file to its first bytes.

        Raises:
            SpoolFailed: the volume does not take it; the file is to be abandoned.
        """
        try:
            os.ftruncate(incoming.descriptor, size)
        except OSError as error:
            raise SpoolFailed(f"spool: {error.strerror}") from error

    def written(self, incoming: Incoming, start: int) -> Iterator[bytes]:
        """Yield what was written of a file, from a byte on.

        Raises:
            OSError: it cannot be read.
        """
        with (self.tmp / incoming.receipt_id).open("rb") as file:
            file.seek(start)
            while piece := file.read(_READ):
                yield piece

    def commit(self, incoming: Incoming) -> None:
        """Make the file durable under its committed name. The guarantee holds when this returns.

        Raises:
            SpoolFailed: an fsync failed; the file is abandoned and the spool takes nothing more.
        """
        try:
            os.fdatasync(incoming.descriptor)
            self._close(incoming)
            self._writing.move(incoming.receipt_id, self._committed)
            self._group.sync()
        except OSError as error:
            self._failed = f"fsync failed: {error.strerror}; restart on a volume that works"
            raise SpoolFailed(self._failed) from error

    def abandon(self, incoming: Incoming) -> None:
        """Drop a file that was not committed."""
        self._close(incoming)
        (self.tmp / incoming.receipt_id).unlink(missing_ok=True)
        if self._failed:
            # Renamed, but never known to be durable and never answered with success.
            (self.ready / incoming.receipt_id).unlink(missing_ok=True)

    def set_aside(self, incoming: Incoming, *, reason: str, told: dict[str, object]) -> None:
        """Move a file that could not be accepted into quarantine, with a note beside it.

        Args:
            incoming: the file, with whatever bytes there are.
            reason: a code of the closed list in docs/operations.md.
            told: what else an operator needs; no PHI.

        Raises:
            QuarantineFull: it has no room; the file is to be abandoned.
            SpoolFailed: the volume does not take it.
        """
        note = {"reason": reason, "at": utc_now().isoformat(), **told}
        try:
            self.aside.admit(os.fstat(incoming.descriptor).st_size)
            os.fdatasync(incoming.descriptor)
            self._close(incoming)
            self.aside.add(self.tmp / incoming.receipt_id, incoming.receipt_id, note)
        except OSError as error:
            raise SpoolFailed(f"spool: {error.strerror}") from error

    def waiting(self) -> list[str]:
        """Return the ids of all receipts in `ready`."""
        return sorted(entry.name for entry in os.scandir(self.ready))

    def path(self, receipt_id: str) -> Path:
        """Return where a committed file is."""
        return self.ready / receipt_id

    def remove(self, receipt_id: str) -> None:
        """Forget a receipt whose object is stored and published."""
        self.path(receipt_id).unlink(missing_ok=True)

    def read_receipt(self, receipt_id: str) -> Receipt:
        """Return the receipt of a committed file by reading the file.

        Raises:
            Unreadable: its bytes were altered since they were committed.
            OSError: it cannot be read.
        """
        path = self.path(receipt_id)
        reader = ReceiptReader()
        with path.open("rb") as file:
            while piece := file.read(_READ):
                reader.feed(piece)
        received_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        return reader.finish(receipt_id=receipt_id, received_at=received_at)

    def close(self) -> None:
        """Let another process use the directory."""
        self.is_owned = False
        for lock in (self._lock, self._run_lock):
            if lock is not None:
                os.close(lock)


def _begin_run(tmp: Path, own: Path) -> int:
    """Make the directory of a run and drop those of runs that have ended; return its lock.

    A run holds its directory locked; whoever begins one holds all of `tmp`.
    """
    beginning = os.open(tmp, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(beginning, fcntl.LOCK_EX)
        for leftover in tmp.iterdir():
            if not leftover.is_dir():
                leftover.unlink()
                continue
            held = os.open(leftover, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _clear(leftover)
                leftover.rmdir()
            except BlockingIOError:
                continue  # another process receives into it
            finally:
                os.close(held)
        own.mkdir()
        lock = os.open(own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return lock
    finally:
        os.close(beginning)


def _clear(directory: Path) -> None:
    """Drop what an earlier run was writing: it was never answered with success."""
    for leftover in directory.iterdir():
        if leftover.is_dir():
            _clear(leftover)
            leftover.rmdir()
        else:
            leftover.unlink()
