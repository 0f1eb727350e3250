"""The directory that files are dropped in: each is taken and removed, or moved to `rejected`.

A file is looked at when it has been as it is since the last look and nobody has it open to write;
a program that puts it there under another name first, beginning with a dot, and renames it, need
not wait for that. Entries are committed before their file goes: what is found again is taken once.
"""

import asyncio
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncpg

from darkroom_common.errors import DependencyUnavailable
from darkroom_common.objects.directory import sync_directory
from darkroom_common.postgres.pool import Unstorable
from darkroom_common.resources.resource import Refusal
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import ingest as metrics
from darkroom_ingest.orders.files import BadFile, read_entries, read_messages, read_worklist_file
from darkroom_ingest.orders.mapping import Act
from darkroom_ingest.orders.orders import Orders, Sent
from darkroom_ingest.orders.reading import NotRead, header_of

log = get_logger(__name__)
REJECTED: Final = "rejected"
LOOK_SECONDS: Final = 1.0
_READERS: Final[dict[str, Callable[[bytes], Sequence[Act]]]] = {
    ".wl": read_worklist_file,
    ".dcm": read_worklist_file,
    ".json": read_entries,
}
_MESSAGES: Final = frozenset({".hl7"})
_AT_ONCE: Final = 200
"""Files of one look."""
Stamp = tuple[int, int, int]


@dataclass
class Drop:
    """Looks after one directory, and the directories in it: one for each AE title, or sender.

    Attributes:
        most: bytes of one file.
        assumed: character set of messages that name none.
    """

    directory: Path
    orders: Orders
    most: int
    assumed: str
    _seen: dict[Path, Stamp] = field(default_factory=dict)

    async def run(self) -> None:
        """Take what is dropped, for ever; cancel to stop."""
        while True:
            try:
                await self.look()
            except OSError as error:
                log.warning("orders.directory_not_read", reason=error.strerror)
            except (DependencyUnavailable, asyncpg.PostgresError) as error:
                log.warning("orders.files_wait", reason=type(error).__name__)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Take what is there and whole.

        Raises:
            DependencyUnavailable: the database is away; the files stay.
        """
        there = await asyncio.to_thread(lambda: dict(self._there()))
        whole = [path for path, stamp in there.items() if self._seen.get(path) == stamp]
        self._seen = there
        for path in sorted(whole)[:_AT_ONCE]:
            raw = await asyncio.to_thread(self._read, path)
            if raw is None:
                continue
            reason = await self._taken(path, raw)
            await asyncio.to_thread(self._away, path, reason)
            del self._seen[path]
            metrics.ORDER_FILES.labels("rejected" if reason else "taken").inc()
            log.info("orders.file", kind=path.suffix, taken=not reason, bytes=len(raw))

    def _there(self) -> Iterator[tuple[Path, Stamp]]:
        for folder in (self.directory, *self._folders()):
            with os.scandir(folder) as found:
                for one in found:
                    path = Path(one.path)
                    wanted = path.suffix.lower() in {*_READERS, *_MESSAGES}
                    with suppress(FileNotFoundError):
                        state = one.stat(follow_symlinks=False)
                        if wanted and stat.S_ISREG(state.st_mode) and one.name[0] != ".":
                            yield path, (state.st_ino, state.st_mtime_ns, state.st_size)

    def _folders(self) -> list[Path]:
        with os.scandir(self.directory) as found:
            return [
                Path(one.path)
                for one in found
                if one.is_dir(follow_symlinks=False) and one.name[0] != "." and one.name != REJECTED
            ]

    def _read(self, path: Path) -> bytes | None:
        """Return what a file holds; None: somebody still writes it, or has taken it away."""
        try:
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        with os.fdopen(file, "rb") as opened:
            try:
                fcntl.fcntl(opened, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            except BlockingIOError:  # it is open to write
                return None
            except OSError:  # a file system without leases, or the file of another user
                return opened.read(self.most + 1)
            raw = opened.read(self.most + 1)
            fcntl.fcntl(opened, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            return raw

    async def _taken(self, path: Path, raw: bytes) -> str:
        """Do what a file wants; return why not."""
        if len(raw) > self.most:
            return f"it has more than {self.most} bytes"
        try:
            if path.suffix.lower() in _MESSAGES:
                await self._messages(raw)
                return ""
            acts = await asyncio.to_thread(_READERS[path.suffix.lower()], raw)
            sent = Sent("file", f"file:{path.parent.name}"[:64], path.suffix.lower())
            key = f"file\\{hashlib.sha256(raw).hexdigest()}"
            await self.orders.take(key, acts, sent)
        except (BadFile, NotRead, Refusal, Unstorable) as error:
            return str(error)
        return ""

    async def _messages(self, raw: bytes) -> None:
        for number, message in enumerate(read_messages(raw), start=1):
            outcome = await self.orders.message(message, header_of(message, assumed=self.assumed))
            if outcome.again:
                raise DependencyUnavailable(outcome.reason)
            if outcome.verdict != "accepted":
                where = f"{outcome.place}: " if outcome.place else ""
                raise BadFile(f"message {number}: {where}{outcome.reason} ({outcome.code})")

    def _away(self, path: Path, reason: str) -> None:
        """Remove a file that was taken; move one that was not, with the reason beside it."""
        if not reason:
            path.unlink(missing_ok=True)
            sync_directory(path.parent)
            return
        rejected = self.directory / REJECTED
        rejected.mkdir(mode=0o700, exist_ok=True)
        target = rejected / path.name
        number = 1
        while target.exists():
            number += 1
            target = rejected / f"{path.stem}.{number}{path.suffix}"
        target.with_name(f"{target.name}.reason.txt").write_text(f"{reason}\n", encoding="utf-8")
        path.rename(target)
        sync_directory(rejected)
        sync_directory(path.parent)
