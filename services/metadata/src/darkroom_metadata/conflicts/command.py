"""`python -m darkroom_metadata conflicts`: what an operator sees of conflicts, and decides.

Exit code 0: done; 1: a decision was not carried out, and why is said; 2: it could not be asked for.
A decision is a job of the running metadata: whoever interrupts the command leaves it there.
"""

import argparse
import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import ValidationError
from pydicom.datadict import keyword_for_tag

from darkroom_common.clock import monotonic
from darkroom_common.dicom.json_values import texts
from darkroom_common.errors import DarkroomError
from darkroom_common.index.conflicts import (
    CONFLICTS,
    Conflict,
    Side,
    conflict_object,
    read_conflict,
)
from darkroom_common.messages.base import new_message_id
from darkroom_common.messages.commands import ResolveConflict
from darkroom_common.messages.events import ConflictKind, ConflictState
from darkroom_common.objects.store import ObjectStore, open_store
from darkroom_common.output import operator, say
from darkroom_common.postgres.listing import Order, Window, page
from darkroom_common.postgres.migrate import require_compatible
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Database, open_database, the_row
from darkroom_common.seal import Seal
from darkroom_common.specs.conflicts import PURPOSE, Action, Decision
from darkroom_metadata.conflicts.repository import Resolutions
from darkroom_metadata.settings import MetadataSettings

LEFT: Final = 1
_NEWEST: Final = Order({"received_at": datetime, "number": int}, descending=True)
_JOB: Final = "SELECT state, reason, instances, finished_at FROM index.resolution WHERE id = $1"
_POLL: Final = 0.2
_PATIENCE: Final = 5.0
_HELP: Final = {
    "promote": "put its bytes in force; the former ones are kept in the conflict",
    "discard": "have its bytes deleted, after DISCARDED_DAYS",
    "keep": "leave both as they are",
    "merge": "correct what disagrees to what was first",
    "move": "correct the patient of what disagrees to another one",
    "split": "give what disagrees a study or a series of its own",
}


class NotDone(DarkroomError):
    """What was asked for is not done; the text says why."""


async def conflicts(settings: MetadataSettings, arguments: Sequence[str]) -> int:
    """Be the command; return its exit code.

    Raises:
        DarkroomError: it could not be asked for.
        SystemExit: with code 2, after a usage line.
    """
    given = _parser().parse_args(arguments)
    act: Callable[[Desk, argparse.Namespace], Awaitable[int]] = given.act
    url = settings.postgres_url.get_secret_value()
    async with open_database(url, service="metadata-conflicts", size=2) as database:
        await require_compatible(database, schema="index", package="darkroom_metadata")
        return await act(Desk(settings, database), given)


@dataclass
class Desk:
    """What the words of the command do."""

    settings: MetadataSettings
    database: Database

    def __post_init__(self) -> None:
        """Read the keys."""
        self._keys = PhiKeys.parse(self.settings.phi_keys.get_secret_value())

    async def list(self, given: argparse.Namespace) -> int:
        """Tell what there is, the newest first."""
        wanted = {
            "kind": given.kind,
            "state": None if given.state == "any" else given.state,
            "study_instance_uid": given.study,
        }
        async with self.database.acquire() as db:
            found = await page(db, CONFLICTS, Window(_NEWEST, given.limit), wanted)
        for row in found.rows:
            if given.json:
                say(json.dumps(dict(row), default=_plain))
                continue
            what = ", ".join(row["attributes"]) or row["sop_instance_uid"]
            ae = _escaped(row["calling_ae_title"])
            say(
                f"{row['conflict_id']:>8}  {row['received_at']:%Y-%m-%d %H:%M:%S}  {row['kind']:10}"
                f"  {row['state']:9}  {ae:16}  {row['study_instance_uid']}  {what}"
            )
        if not given.json:
            say(f"{len(found.rows)} of {found.total} conflicts")
        return 0

    async def show(self, given: argparse.Namespace) -> int:
        """Tell what is known of one, and with --phi also what the two say."""
        async with self.database.acquire() as db:
            found = await read_conflict(db, self._keys.by_id(), given.id)
        if found is None:
            raise NotDone("there is no such conflict")
        told: dict[str, Any] = {
            **dict(found.row),
            "first": _side(found.first),
            "other": _side(found.other),
            "differences": _differences(found, phi=given.phi),
        }
        if given.json:
            say(json.dumps(told, default=_plain))
            return 0
        listed = told.pop("differences")
        for name, value in told.items():
            say(f"{name:20} {_escaped(str(value))}")
        for one in listed:
            say("  " + "  ".join(_escaped(str(value)) for value in one.values()))
        return 0

    async def fetch(self, given: argparse.Namespace) -> int:
        """Copy its object to a new file, which holds whatever the sender sent."""
        async with self.database.acquire() as db:
            found = await conflict_object(db, given.id)
        if found is None or found["removed_at"] is not None:
            raise NotDone("there is no such conflict, or its object has been deleted")
        store, target = open_store(self.settings.store_url), Path(given.file)
        try:
            await asyncio.to_thread(_copy, store, found["object_key"], target)
        except OSError as error:
            raise NotDone(f"{target}: {error.strerror}") from error
        say(f"fetched conflict {given.id} to {target}; it may identify a patient")
        return 0

    async def decide(self, given: argparse.Namespace) -> int:
        """Have a decision carried out, and wait for that."""
        try:
            decision = Decision(
                reason=given.reason,
                patient_id=getattr(given, "patient_id", ""),
                issuer_of_patient_id=getattr(given, "issuer", ""),
            )
        except ValidationError:
            raise NotDone("a text is too long or has control characters") from None
        asked = ResolveConflict(
            job_id=new_message_id(),
            conflict_id=str(given.id),
            action=given.action,
            version=given.version,
            requested_by=f"cli:{operator()}"[:64],
            sealed=Seal(self._keys).seal(decision.model_dump(), purpose=PURPOSE),
        )
        async with self.database.transaction() as db:
            await Resolutions(Outbox("index")).add(db, asked)
        return await self._ended(asked)

    async def _ended(self, asked: ResolveConflict) -> int:
        tells = monotonic() + _PATIENCE
        while True:
            async with self.database.acquire() as db:
                row = the_row(await db.fetchrow(_JOB, asked.job_id))
            if row["finished_at"] is not None:
                break
            if monotonic() > tells:
                tells = float("inf")
                say(f"{row['state']}: metadata carries it out, also when this is interrupted")
            await asyncio.sleep(_POLL)
        done = row["state"] == "DONE"
        what = f"{asked.action} of conflict {asked.conflict_id}"
        say(f"{what}: {row['instances']} instances" if done else f"{what}: {row['reason']}")
        return 0 if done else LEFT


def _copy(store: ObjectStore, key: str, target: Path) -> None:
    with store.open_now(key) as source, target.open("xb") as copy:
        target.chmod(0o600)
        shutil.copyfileobj(source, copy)


def _side(side: Side | None) -> dict[str, Any] | None:
    if side is None:
        return None
    return {
        "study_instance_uid": side.study_instance_uid,
        "series_instance_uid": side.series_instance_uid,
        "instances": side.instances,
        "calling_ae_titles": list(side.calling_ae_titles),
        "since": side.since.isoformat(),
        "size": side.size,
        "sha256": side.sha256,
    }


def _differences(found: Conflict, *, phi: bool) -> list[dict[str, str]]:
    first = found.first.attributes if found.first else {}
    other = found.other.attributes if found.other else {}
    told = []
    for tag in sorted(first.keys() | other.keys()):
        if first.get(tag) != other.get(tag):
            one = {"tag": tag, "keyword": keyword_for_tag(int(tag, 16))}
            sides = {"first": first, "other": other} if phi else {}
            told.append(one | {name: "\\".join(texts(x.get(tag))) for name, x in sides.items()})
    return told


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _escaped(text: str) -> str:
    return text.encode("unicode_escape").decode()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="darkroom conflicts", description="What disagrees with what the index has."
    )
    words = parser.add_subparsers(required=True, metavar="WORD")

    listing = words.add_parser("list", help="what there is, the newest first")
    listing.add_argument("--kind", choices=get_args(ConflictKind))
    states = (*get_args(ConflictState), "any")
    listing.add_argument("--state", choices=states, default="open", help="default: open")
    listing.add_argument("--study", metavar="UID")
    listing.add_argument("--limit", type=int, default=50, metavar="N")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    listing.set_defaults(act=Desk.list)

    showing = words.add_parser("show", help="both sides of one, and which attributes differ")
    showing.add_argument("id", type=int, metavar="ID")
    showing.add_argument("--phi", action="store_true", help="also their values")
    showing.add_argument("--json", action="store_true")
    showing.set_defaults(act=Desk.show)

    fetching = words.add_parser("fetch", help="copy its object to a file; it holds PHI")
    fetching.add_argument("id", type=int, metavar="ID")
    fetching.add_argument("file", metavar="FILE", help="is not overwritten")
    fetching.set_defaults(act=Desk.fetch)

    for action in get_args(Action):
        deciding = words.add_parser(action, help=_HELP[action])
        deciding.add_argument("id", type=int, metavar="ID")
        deciding.add_argument("--reason", default="", required=action == "discard", metavar="TEXT")
        deciding.add_argument(
            "--version", type=int, metavar="N", help="that show has told; not done if it has grown"
        )
        if action == "move":
            deciding.add_argument("--patient-id", required=True, metavar="ID")
            deciding.add_argument("--issuer", default="", metavar="NAME", help="of the patient id")
        deciding.set_defaults(act=Desk.decide, action=action)
    return parser
