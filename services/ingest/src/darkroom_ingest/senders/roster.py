"""The list of senders as a process has it: the copy beside the spool, and who goes by it.

The main process writes the copy from the database; the workers look at it each second. Whatever
happens to either, the last good list stays in force.
"""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic import TypeAdapter

from darkroom_common.dimse.wire.command import CommandField
from darkroom_common.objects.directory import sync_directory
from darkroom_common.specs.senders import SenderSpec
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import ingest as metrics
from darkroom_ingest.senders.admission import (
    Absence,
    Caller,
    Denied,
    Permit,
    Policy,
    Roster,
    Sender,
    decide,
)

log = get_logger(__name__)
COPY_NAME: Final = "senders.json"
NOT_UNDERSTOOD: Final = "this version does not understand its rules"
_ROSTER: Final = TypeAdapter(Roster)
_SENDER: Final = TypeAdapter(Sender)


class BrokenRoster(ValueError):
    """What should be a list of senders is none."""


def parse_roster(text: str | bytes) -> Roster:
    """Return the list that a JSON text says.

    Raises:
        BrokenRoster: it says none.
    """
    with suppress(ValueError):
        return _ROSTER.validate_json(text)
    try:
        listed = orjson.loads(text)
        senders = tuple(_readable(one) for one in listed.pop("senders", []))
        return replace(_ROSTER.validate_json(orjson.dumps(listed)), senders=senders)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenRoster(type(error).__name__) from error


def _readable(listed: Any) -> Sender:
    """Return a sender; one that this version does not understand is listed, but rejected."""
    try:
        return from_json(listed)
    except ValueError:
        idle = SenderSpec(enabled=False, description=NOT_UNDERSTOOD, host_rule="listed")
        return from_json({**idle.model_dump(mode="json"), "ae_title": listed["ae_title"]})


def from_json(listed: dict[str, Any]) -> Sender:
    """Return a sender of JSON values.

    Raises:
        ValueError: it makes no sense.
    """
    return _SENDER.validate_json(orjson.dumps(listed))


def as_json(sender: Sender) -> dict[str, Any]:
    """Return a sender as JSON values."""
    found: dict[str, Any] = _SENDER.dump_python(sender, mode="json")
    return found


class RosterCopy:
    """The copy of the list in a file, and the list that is in force in this process."""

    def __init__(self, path: Path) -> None:
        self.roster: Roster | Absence = Absence.NEVER_READ
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self.look()

    def look(self) -> None:
        """Read the file if it is another one than at the last look."""
        try:
            stamp = self._look_at()
            if stamp in {None, self._stamp}:
                return
            self._stamp = stamp
            self.roster = parse_roster(self._path.read_bytes())
        except (OSError, BrokenRoster) as error:
            metrics.SENDERS_NOT_READ.labels("copy").inc()
            log.error("senders.copy_unreadable", reason=_reason(error))
            if isinstance(self.roster, Absence):
                self.roster = Absence.UNREADABLE
        else:
            log.info("senders.read", senders=len(self.roster.senders))

    def put(self, roster: Roster) -> None:
        """Put another list in force, in this process and by the file in every other.

        Raises:
            OSError: the file could not be written, so that the old list stays.
        """
        fresh = self._path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(_ROSTER.dump_json(roster, indent=1))
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self._path)
        sync_directory(self._path.parent)
        self._stamp = self._look_at()
        self.roster = roster

    def keep(self) -> None:
        """Write the file again if it is gone or is not the one that was read or written.

        Raises:
            OSError: it could not be written.
        """
        if not isinstance(self.roster, Absence) and self._look_at() != self._stamp:
            log.warning("senders.copy_written_again")
            self.put(self.roster)

    def _look_at(self) -> tuple[int, int, int] | None:
        try:
            state = self._path.stat()
        except FileNotFoundError:
            return None
        return state.st_ino, state.st_mtime_ns, state.st_size


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


class Doorkeeper:
    """Decides by the list that is in force now."""

    def __init__(self, copy: RosterCopy, policy: Policy) -> None:
        self._copy = copy
        self._policy = policy

    @property
    def roster(self) -> Roster | Absence:
        """The list that is in force."""
        return self._copy.roster

    def look(self) -> None:
        """Take a changed list."""
        self._copy.look()

    def decide(self, caller: Caller) -> Permit | Denied:
        """Return what a caller may do, or why it is rejected."""
        if isinstance(self._copy.roster, Absence):
            self._copy.look()  # by now it may be there: nobody is rejected for the next second
        return decide(caller, self._policy, self._copy.roster)


class Standing:
    """What the caller of an open association may do; it follows changes of the list."""

    def __init__(self, doorkeeper: Doorkeeper, caller: Caller) -> None:
        self._doorkeeper = doorkeeper
        self._caller = caller
        self._roster = doorkeeper.roster
        self._verdict = doorkeeper.decide(caller)

    def may(self, command_field: int, sop_class_uid: str) -> bool:
        """Return whether a request is allowed now: for C-STORE, the SOP class has to be."""
        if command_field == CommandField.C_ECHO:
            return True
        permit = self.permit
        if command_field == CommandField.C_FIND:
            return permit is not None and permit.query_rule != "none"
        if command_field in {CommandField.C_GET, CommandField.C_MOVE}:
            return permit is not None and permit.retrieve_rule != "none"
        if command_field != CommandField.C_STORE:
            return permit is not None
        return permit is not None and permit.allows(sop_class_uid)

    @property
    def permit(self) -> Permit | None:
        """What is allowed now; None: nothing any more."""
        if self._doorkeeper.roster is not self._roster:
            self._roster = self._doorkeeper.roster
            self._verdict = self._doorkeeper.decide(self._caller)
        return self._verdict if isinstance(self._verdict, Permit) else None
