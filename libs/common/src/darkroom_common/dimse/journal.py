"""What becomes of every association, of those that are opened to us and of those that we open.

The audit log has a row for each (API-05). Whoever has served or used an association writes one line
of a file when it has ended, and waits for nobody: neither the broker nor the database has to be
there. `associations.relay` takes the file from there.
"""

import fcntl
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from darkroom_common.clock import SYSTEM_CLOCK, Clock, utc_now
from darkroom_common.dimse.statuses import SUCCESS, is_failure, is_pending
from darkroom_common.dimse.wire.command import Command, CommandField
from darkroom_common.errors import DarkroomError
from darkroom_common.messages.base import new_message_id
from darkroom_common.messages.events import AssociationItem
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import common as metrics

log = get_logger(__name__)
MOST_BYTES: Final = 256 << 20
"""Of what waits to be published; beyond that associations are lost to the audit, and counted."""
AGAIN_SECONDS: Final = 60.0
"""A rejection that repeats itself is written once, and then with how often it came."""
_MOST_REPEATED: Final = 1000
_MOST_STUDIES: Final = 100
_NAMES: Final = {one.value: one.name.replace("_", "-") for one in CommandField}
Result = Literal["released", "aborted", "rejected", "refused"]


@dataclass
class Tally:
    """What was asked on an association.

    Attributes:
        commands: how many of each were answered at last, by their names in PS3.7.
        failures: how many of them with a status that says so.
        studies: some of which instances were retrieved; in order.
    """

    commands: Counter[str] = field(default_factory=Counter)
    failures: int = 0
    studies: dict[str, None] = field(default_factory=dict)

    def answered(self, command: int, status: int) -> None:
        """Count an answer; one that others follow is none yet."""
        if is_pending(status):
            return
        self.commands[_NAMES.get(command, f"{command:04X}")] += 1
        self.failures += is_failure(status)

    def heard(self, command: Command) -> None:
        """Count an answer of another node, or what it asks meanwhile."""
        name = _NAMES.get(command.field, f"{command.field:04X}")
        if command.is_response:
            log.debug("dimse.answer", command=name, status=f"{command.status:04X}")
        else:
            log.debug("dimse.asked", command=name)
        self.answered(command.field, command.status if command.is_response else SUCCESS)


@dataclass(frozen=True)
class Side:
    """Who talks to whom.

    Attributes:
        direction: `in` is opened to us.
        peer: address or name of the other node.
        protection: version of TLS; empty without.
    """

    direction: Literal["in", "out"]
    peer: str
    calling_ae_title: str = ""
    called_ae_title: str = ""
    protection: str = ""
    certificate_sha256: str = ""


@dataclass
class Account:
    """What is known of an association of ours while it is open."""

    side: Side
    began_at: datetime = field(default_factory=utc_now)
    tally: Tally = field(default_factory=Tally)
    fault: str = ""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Remember what goes wrong in a block."""
        try:
            yield
        except DarkroomError as error:
            self.fault = str(getattr(error, "reason", type(error).__name__))
            raise

    def __post_init__(self) -> None:
        """Say that it is open."""
        side = self.side
        log.info(
            "association.opened",
            peer=side.peer,
            ae=side.calling_ae_title,
            called_ae=side.called_ae_title,
            tls=side.protection,
        )

    def close(self, *, aborted: bool) -> None:
        """Write how it has ended."""
        result: Result = "aborted" if aborted or self.fault else "released"
        log.info(
            "association.closed",
            peer=self.side.peer,
            called_ae=self.side.called_ae_title,
            result=result,
            reason=self.fault,
            commands=dict(self.tally.commands),
        )
        JOURNAL.ended(self.side, result, self.fault, began_at=self.began_at, tally=self.tally)


class JournalFile:
    """Lines that some processes add to and one takes away.

    Args:
        directory: of the file; it is made.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._path = directory / "now"
        directory.mkdir(parents=True, exist_ok=True)

    def append(self, line: bytes) -> bool:
        """Add a line, from any thread or process; tell whether there was room.

        Raises:
            OSError: the disk does not take it.
        """
        while True:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                held = os.fstat(descriptor)
                with suppress(FileNotFoundError):
                    if self._path.stat().st_ino == held.st_ino:  # else it was taken meanwhile
                        return held.st_size < MOST_BYTES and os.write(descriptor, line) > 0
            finally:
                os.close(descriptor)

    def take(self) -> list[Path]:
        """Return files that nobody writes to any more, the oldest first; they are to be removed.

        Raises:
            OSError: the disk fails.
        """
        with suppress(FileNotFoundError):
            taken = self.directory / f"{SYSTEM_CLOCK.now():%Y%m%dT%H%M%S%f}.taken"
            self._path.rename(taken)
        found = sorted(self.directory.glob("*.taken"))
        for path in found:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # whoever has opened it before it was renamed
                os.fdatasync(file.fileno())
        return found


class Journal:
    """Where ended associations of this process go."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._file: JournalFile | None = None
        self._service = ""
        self._lock = threading.Lock()
        self._repeated: dict[tuple[str, ...], tuple[float, AssociationItem | None]] = {}

    def keep_in(self, file: JournalFile, service: str) -> None:
        """Write to a file from now on; before, nothing is kept."""
        self._file, self._service = file, service

    def ended(
        self,
        side: Side,
        result: Result,
        reason: str = "",
        *,
        began_at: datetime | None = None,
        tally: Tally | None = None,
    ) -> None:
        """Write how an association has ended, or that there was none."""
        if self._file is None:
            return
        now = self._clock.now()
        counted = tally or Tally()
        item = AssociationItem(
            receipt=new_message_id(),
            service=self._service,
            direction=side.direction,
            peer=side.peer[:253],
            calling_ae_title=side.calling_ae_title,
            called_ae_title=side.called_ae_title,
            protection=side.protection,
            certificate_sha256=side.certificate_sha256,
            result=result,
            reason=reason[:128],
            began_at=began_at or now,
            ended_at=now,
            commands=dict(counted.commands),
            failures=counted.failures,
            studies=tuple(counted.studies)[:_MOST_STUDIES],
        )
        if result in ("released", "aborted") or self._is_new(item):
            self._write(self._file, item)

    def not_opened(self, side: Side, reason: str) -> None:
        """Write that another node did not let us open one, or was not there."""
        log.warning(
            "association.not_opened", peer=side.peer, called_ae=side.called_ae_title, reason=reason
        )
        self.ended(side, "rejected" if reason.startswith("Rejected") else "refused", reason)

    def look(self) -> None:
        """Write how often was repeated what has repeated itself; call it now and then."""
        with self._lock:
            now = self._clock.monotonic()
            over = [key for key, (until, _) in self._repeated.items() if until <= now]
            items = [self._repeated.pop(key)[1] for key in over]
        if self._file is not None:
            for item in items:
                if item is not None:
                    self._write(self._file, item)

    def _is_new(self, item: AssociationItem) -> bool:
        """Tell whether a rejection is to be written now, not counted."""
        key = (item.peer, item.calling_ae_title, item.called_ae_title, item.result, item.reason)
        with self._lock:
            known = self._repeated.get(key)
            if known is None:
                if len(self._repeated) >= _MOST_REPEATED:
                    key = ("", "", "", item.result, "others")
                    if key in self._repeated:
                        return self._again(key, item)
                self._repeated[key] = (self._clock.monotonic() + AGAIN_SECONDS, None)
                return True
            return self._again(key, item)

    def _again(self, key: tuple[str, ...], item: AssociationItem) -> bool:
        until, last = self._repeated[key]
        times = 1 if last is None else last.times + 1
        self._repeated[key] = (until, item.model_copy(update={"times": times}))
        return False

    @staticmethod
    def _write(file: JournalFile, item: AssociationItem) -> None:
        try:
            if file.append(item.model_dump_json().encode() + b"\n"):
                return
            reason = "full"
        except OSError as error:
            reason = error.strerror or type(error).__name__
        metrics.AUDIT_LOST.inc()
        log.error("audit.lost", result=item.result, ae=item.calling_ae_title, reason=reason)


JOURNAL: Final = Journal()
"""Of this process, as its metrics are."""


def keep_journal(directory: Path, service: str) -> JournalFile:
    """Keep what becomes of associations of this process in a directory; return the file."""
    file = JournalFile(directory / "associations")
    JOURNAL.keep_in(file, service)
    return file
