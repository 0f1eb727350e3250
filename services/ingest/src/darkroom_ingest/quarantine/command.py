"""`python -m darkroom_ingest quarantine`: what an operator does about refused objects.

It works on the spool's directory, whether ingest runs or not. Exit code 0: done; 1: something that
was asked for stays in quarantine; 2: it could not be done. What is released goes into `ready`,
where the relay of the running ingest finds it within seconds, or of the next one at its start.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from darkroom_common.dicom.part10 import encode_head
from darkroom_common.dicom.walk import Unreadable
from darkroom_common.errors import ConfigurationError, DarkroomError
from darkroom_common.objects.quarantine import Entry, NotQuarantined, Quarantine
from darkroom_common.output import say
from darkroom_common.telemetry.logs import get_logger
from darkroom_ingest.quarantine.inspection import Inspection, Problem, elements, inspect
from darkroom_ingest.receiving.acceptance import REASONS
from darkroom_ingest.settings import IngestSettings

log = get_logger(__name__)
LEFT: Final = 1
_PROGRESS: Final = 100
"""Objects between two lines of progress."""


class NotDone(DarkroomError):
    """What was asked for is not done; the text says why and what can be."""


async def quarantine(settings: IngestSettings, arguments: Sequence[str]) -> int:
    """Be the command; return its exit code.

    Raises:
        DarkroomError: it could not be done.
        SystemExit: with code 2, after a usage line.
    """
    given = _parser().parse_args(arguments)
    act: Callable[[Desk, argparse.Namespace], int] = given.act
    try:
        return act(Desk(settings), given)
    except OSError as error:
        raise NotDone(f"{error.filename or settings.spool}: {error.strerror}") from error


class Desk:
    """What the words of the command do."""

    def __init__(self, settings: IngestSettings) -> None:
        self._settings = settings
        self._ready = settings.spool / "ready"
        directory = settings.spool / "quarantine"
        if not directory.is_dir() or not self._ready.is_dir():
            raise ConfigurationError(f"SPOOL {settings.spool}: ingest has never run here")
        self._quarantine = Quarantine(directory)

    def list(self, given: argparse.Namespace) -> int:
        """Tell what is there, the oldest first."""
        found = list(self._selected(given.reason, given.since))
        if given.json:
            for entry in found:
                say(json.dumps(_described(entry)))
            return 0
        if not found:
            say("nothing is in quarantine" if not (given.reason or given.since) else "nothing")
            return 0
        width = max(len(entry.reason) for entry in found)
        for entry in found:
            status, ae = entry.told.get("status", "?"), str(entry.told.get("calling_ae_title", "?"))
            say(
                f"{entry.id}  {entry.at:%Y-%m-%d %H:%M:%S}  {entry.reason:{width}}  {status}  "
                f"{entry.size:>12}  {_escaped(ae)}"
            )
        say(f"{len(found)} objects, {sum(entry.size for entry in found)} bytes")
        return 0

    def _selected(self, reason: str | None, since: datetime | None) -> Iterable[Entry]:
        for entry in self._quarantine.entries():
            if reason in (None, entry.reason) and (since is None or entry.at >= since):
                yield entry

    def show(self, given: argparse.Namespace) -> int:
        """Tell all that may be told of one object."""
        entry = self._quarantine.entry(given.id)
        path = self._quarantine.path(entry.id)
        told: dict[str, Any] = _described(entry)
        try:
            today = self._inspect(entry)
            told["today"] = _verdict(today)
            told["elements"] = list(elements(path, self._settings.read_limits))
        except Unreadable as error:
            told["today"] = {"readable": False, "reason": error.code, "position": error.position}
            told["elements"] = []
        if given.json:
            say(json.dumps(told))
            return 0
        listed = told.pop("elements")
        for name, value in told.items():
            say(f"{name:20} {_escaped(str(value))}")
        for one in listed:
            value = "" if one["value"] is None else one["value"]
            say(
                f"  ({one['tag']}) {one['keyword']:32} byte {one['position']:>10} "
                f"length {one['length']:>10}  {value}".rstrip()
            )
        return 0

    def _inspect(self, entry: Entry) -> Inspection:
        path = self._quarantine.path(entry.id)
        settings = self._settings
        return inspect(path, entry, settings.read_limits, strict_uids=settings.strict_uids)

    def release(self, given: argparse.Namespace) -> int:
        """Accept one object that can be read now, or that is forced."""
        refusal = self.release_one(given.id, force=given.force)
        if refusal:
            raise NotDone(f"{given.id} is not released: {refusal}")
        say(f"released {given.id}")
        return 0

    def release_one(self, receipt_id: str, *, force: bool, by: str = "") -> str:
        """Release an object, or return why not.

        Raises:
            NotQuarantined: there is none of this id.
            Busy: another command is at work.
        """
        with self._quarantine.alone():
            return self._release(self._quarantine.entry(receipt_id), force=force, by=by)

    def discard_one(self, receipt_id: str, *, by: str) -> str:
        """Delete an object for good; return that nothing speaks against it.

        Raises:
            NotQuarantined: there is none of this id.
            Busy: another command is at work.
        """
        with self._quarantine.alone():
            self._discard(self._quarantine.entry(receipt_id), by=by)
        return ""

    def replay(self, given: argparse.Namespace) -> int:
        """Release all that can be read now."""
        released = left = 0
        with self._quarantine.alone():
            found = list(self._selected(given.reason, None))
            for number, entry in enumerate(found, 1):
                try:
                    refusal = self._release(entry, force=given.force)
                except NotQuarantined:
                    continue
                released, left = released + (not refusal), left + bool(refusal)
                say(f"{entry.id}  {f'left: {refusal}' if refusal else 'released'}")
                if number % _PROGRESS == 0:
                    say(f"{number} of {len(found)}")
        say(f"{released} released, {left} left")
        return LEFT if left else 0

    def _release(self, entry: Entry, *, force: bool, by: str = "") -> str:
        """Release an object, or return why not."""
        try:
            today = self._inspect(entry)
        except Unreadable as error:
            return f"its head is damaged ({error.code}): export it and look at the medium"
        forced = today.problem is not None
        problem = "" if today.problem is None else _in_words(today.problem)
        if today.identity is None:
            return f"{problem}; its UIDs cannot be told, so that --force cannot help"
        if forced and not force:
            return f"{problem}; --force accepts it as it is"
        self._quarantine.record("release", entry, forced=forced, by=by)
        if forced:
            meta = replace(
                today.meta,
                sop_class_uid=today.identity.sop_class_uid,
                sop_instance_uid=today.identity.sop_instance_uid,
                as_it_is=True,
            )
            self._quarantine.replace_head(entry.id, encode_head(meta), offset=today.offset)
        self._quarantine.release(entry.id, self._ready)
        log.warning("quarantine.released", receipt=entry.id, reason=entry.reason, forced=forced)
        return ""

    def discard(self, given: argparse.Namespace) -> int:
        """Delete one object for good."""
        with self._quarantine.alone():
            entry = self._quarantine.entry(given.id)
            ae = _escaped(str(entry.told.get("calling_ae_title", "?")))
            what = f"{entry.id}: {entry.size} bytes from {ae}, {entry.reason}, {entry.at:%Y-%m-%d}"
            if not given.yes and not _agreed(f"delete {what} for good?"):
                raise NotDone(f"nothing is deleted: say --yes to delete {what}")
            self._discard(entry)
        say(f"deleted {what}")
        return 0

    def _discard(self, entry: Entry, *, by: str = "") -> None:
        self._quarantine.record("discard", entry, by=by)
        self._quarantine.discard(entry.id)
        log.warning("quarantine.discarded", receipt=entry.id, reason=entry.reason)

    def export(self, given: argparse.Namespace) -> int:
        """Copy one object to a new file, which holds whatever the sender sent."""
        entry = self._quarantine.entry(given.id)
        target = Path(given.file)
        with self._quarantine.path(entry.id).open("rb") as source, target.open("xb") as copy:
            target.chmod(0o600)
            shutil.copyfileobj(source, copy)
        log.warning("quarantine.exported", receipt=entry.id, reason=entry.reason)
        say(f"exported {entry.id} to {target}; it may identify a patient")
        return 0


def _described(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "reason": entry.reason,
        "meaning": REASONS.get(entry.reason, "its note is lost"),
        "at": entry.at.isoformat(),
        "file_bytes": entry.size,
        **entry.told,
    }


def _verdict(today: Inspection) -> dict[str, Any]:
    if today.problem is None:
        return {"readable": True}
    return {
        "readable": False,
        "reason": today.problem.reason,
        "position": today.problem.position,
        "can_be_forced": today.identity is not None,
    }


def _in_words(problem: Problem) -> str:
    where = f" at byte {problem.position}" if problem.position is not None else ""
    return f"{problem.reason}{where}: {REASONS[problem.reason]}"


def _escaped(text: str) -> str:
    return text.encode("unicode_escape").decode()


def _agreed(question: str) -> bool:
    return sys.stdin.isatty() and input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}


def _moment(text: str) -> datetime:
    """Read an ISO 8601 date or time; without a zone it is UTC."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="darkroom quarantine", description="Objects that were refused with 0xC000 or 0xA900."
    )
    words = parser.add_subparsers(required=True, metavar="WORD")

    listing = words.add_parser("list", help="what is there, the oldest first")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    listing.add_argument("--reason", choices=[*REASONS, "unknown"], metavar="REASON")
    listing.add_argument("--since", type=_moment, metavar="DATE", help="ISO 8601")
    listing.set_defaults(act=Desk.list)

    showing = words.add_parser("show", help="all that is known of one object, without PHI")
    showing.add_argument("id", metavar="ID")
    showing.add_argument("--json", action="store_true")
    showing.set_defaults(act=Desk.show)

    force = "accept it as it is, when its UIDs can be told"
    releasing = words.add_parser("release", help="check one object again and accept it")
    releasing.add_argument("id", metavar="ID")
    releasing.add_argument("--force", action="store_true", help=force)
    releasing.set_defaults(act=Desk.release)

    replaying = words.add_parser("replay", help="release all that can be read now")
    which = replaying.add_mutually_exclusive_group(required=True)
    which.add_argument("--all", action="store_true")
    which.add_argument("--reason", choices=[*REASONS, "unknown"], metavar="REASON")
    replaying.add_argument("--force", action="store_true", help=force)
    replaying.set_defaults(act=Desk.replay)

    discarding = words.add_parser("discard", help="delete one object for good")
    discarding.add_argument("id", metavar="ID")
    discarding.add_argument("--yes", action="store_true", help="do not ask")
    discarding.set_defaults(act=Desk.discard)

    exporting = words.add_parser("export", help="copy one object to a file; it holds PHI")
    exporting.add_argument("id", metavar="ID")
    exporting.add_argument("file", metavar="FILE", help="is not overwritten")
    exporting.set_defaults(act=Desk.export)
    return parser
