"""`python -m darkroom_transmit migration`: brings the studies of an earlier archive here (STO-06).

It keeps what is asked for in the database; transmit, which runs, does it, and goes on with it
whatever happens to either. Exit code 0: done; 1: not all of the source is here; 2: it could not be
done.
"""

import argparse
import asyncio
import csv
import datetime as dt
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final

import orjson
from pydantic import ValidationError

from darkroom_common.errors import ConfigurationError
from darkroom_common.jobs.kind import Action
from darkroom_common.messages.base import Reply, new_message_id
from darkroom_common.messages.commands import StartMigration
from darkroom_common.output import operator, say
from darkroom_common.postgres.migrate import require_compatible
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Database, open_database
from darkroom_common.readers.migrations import MIGRATIONS, TITLES, report
from darkroom_common.seal import Seal
from darkroom_common.specs.base import as_spec, strict
from darkroom_common.specs.destinations import Window
from darkroom_common.specs.remote import FILES, FirstOrder, MigrationSpec
from darkroom_transmit.destinations.configuration import Configuration
from darkroom_transmit.migration.files import BadDirectory, below
from darkroom_transmit.migration.opening import Bringing, Sources
from darkroom_transmit.migration.repository import LOCATION, PHASES, MigrationJobs
from darkroom_transmit.remote.remotes import Remotes
from darkroom_transmit.sending.pool import AssociationPool
from darkroom_transmit.sending.sender import DimseSender
from darkroom_transmit.settings import TransmitSettings
from darkroom_transmit.wiring import receiver_of

POLL_SECONDS: Final = 1.0
_OVER: Final = frozenset({*PHASES.over, "PAUSED"})
_ONE: Final = f"{MIGRATIONS} WHERE id = $1"
_NEWEST: Final = f"{MIGRATIONS} ORDER BY created_at DESC, id LIMIT $1"
_LAST: Final = "SELECT id FROM transmit.migration ORDER BY created_at DESC, id LIMIT 1"
_BAR: Final = 30


class Wrong(ConfigurationError):
    """What was asked for makes no sense."""


async def migrate(settings: TransmitSettings, arguments: Sequence[str]) -> int:
    """Be the command; return its exit code.

    Raises:
        DarkroomError: it could not be done.
        SystemExit: with code 2, after a usage line.
    """
    given = _parser().parse_args(arguments or ["list"])
    async with AsyncExitStack() as stack:
        url = settings.postgres_url.get_secret_value()
        database = await stack.enter_async_context(
            open_database(url, service="transmit-migrate-command", size=2)
        )
        await require_compatible(database, schema="transmit", package="darkroom_transmit")
        desk = Desk(settings, database)
        code: int = await given.work(desk, given)
        return code


class Desk:
    """What the words of the command work with."""

    def __init__(self, settings: TransmitSettings, database: Database) -> None:
        self.settings = settings
        self.database = database
        self.seal = Seal(PhiKeys.parse(settings.phi_keys.get_secret_value()))
        self.jobs = MigrationJobs(Outbox("transmit"))

    async def one(self, job: str) -> Mapping[str, Any]:
        """Return a migration; without an id the newest.

        Raises:
            Wrong: there is none.
        """
        async with self.database.acquire() as db:
            row = await db.fetchrow(_ONE, job or await db.fetchval(_LAST))
        if row is None:
            raise Wrong("there is no such migration")
        return dict(row)

    async def first(self, migration: str, order: FirstOrder, by: str) -> Reply:
        """Have studies come first; see `Bringing.first`.

        Raises:
            PeerFault: the source cannot be asked for a patient.
        """
        tls = self.settings.tls_client()
        sender = DimseSender(AssociationPool(1, 1.0, 1.0), tls)
        with ThreadPoolExecutor(1) as threads:
            remotes = Remotes(Configuration(self.database, self.seal), sender, threads)
            root = self.settings.migration_directory
            sources = Sources(remotes, receiver_of(self.settings), tls, root)
            in_thread = partial(asyncio.get_running_loop().run_in_executor, threads)
            bringing = Bringing(self.database, sources, self.seal, in_thread)
            return await bringing.first(migration, order, by)


async def start(desk: Desk, given: argparse.Namespace) -> int:
    """Keep a new migration, or say what it would do."""
    spec = _spec(given)
    if spec.way in FILES:
        try:
            below(desk.settings.migration_directory, spec.directory)
        except BadDirectory as error:
            raise Wrong(str(error)) from error
    else:
        known = await Configuration(desk.database, desk.seal).named(spec.lane)
        if (known.spec.kind == "stow") != (spec.way == "web"):
            raise Wrong(f"{spec.lane} is a {known.spec.kind} destination")
    if given.dry_run:
        say(orjson.dumps(spec.model_dump(mode="json"), option=orjson.OPT_INDENT_2).decode())
        say("dry run: nothing was begun")
        return 0
    asked = StartMigration(job_id=new_message_id(), spec=spec, requested_by=given.by or operator())
    async with desk.database.transaction() as db:
        await desk.jobs.add(db, asked)
    say(f"migration {asked.job_id}")
    given.job = asked.job_id
    return await watch(desk, given) if given.wait else 0


def _spec(given: argparse.Namespace) -> MigrationSpec:
    windows = [_window(one) for one in given.window]
    values = {
        "way": given.way,
        "source": getattr(given, "source", None),
        "directory": getattr(given, "directory", ""),
        "date_from": given.date_from,
        "date_to": given.date_to,
        "modalities": given.modality,
        "bytes_per_second": given.bytes_per_second,
        "studies_at_once": given.studies_at_once,
        "windows": windows,
        "time_zone": given.time_zone,
    }
    if given.calling_ae_title:
        values["calling_ae_title"] = given.calling_ae_title
    try:
        return as_spec(MigrationSpec, strict(MigrationSpec).model_validate(values))
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
            for one in error.errors(include_input=False, include_url=False)
        )
        raise Wrong(told) from None


def _window(text: str) -> dict[str, Any]:
    days, _, hours = text.rpartition(" ")
    begin, _, end = hours.partition("-")
    return Window.model_validate(
        {"days": [one for one in days.split(",") if one], "start": begin, "end": end}
    ).model_dump(mode="json")


async def watch(desk: Desk, given: argparse.Namespace) -> int:
    """Show how far it is until it is over."""
    while True:
        one = await desk.one(given.job)
        if given.json:
            say(orjson.dumps(one).decode())
        elif sys.stdout.isatty():
            sys.stdout.write(f"\r\x1b[K{line_of(one)}")
            sys.stdout.flush()
        else:
            say(line_of(one))
        if one["state"] in _OVER:
            break
        await asyncio.sleep(POLL_SECONDS)
    if sys.stdout.isatty() and not given.json:
        say("")
    return 0 if one["state"] == "DONE" and not _exceptions(one) else 1


def _exceptions(one: Mapping[str, Any]) -> int:
    return int(one["missing"] + one["differing"] + one["refused"])


def line_of(one: Mapping[str, Any]) -> str:
    """Return how far a migration is, in one line with a bar."""
    done, all_of = one["studies_done"], one["studies"]
    full = _BAR * done // all_of if all_of else 0
    more = "" if one["listed"] else " or more"
    told = [
        f"{one['state'].lower():9} [{'#' * full}{'.' * (_BAR - full)}]",
        f"{done} of {all_of}{more} studies, {one['there']} of {one['objects']} objects there",
        f"{one['bytes'] / 1e6:.1f} MB",
    ]
    told += [f"{one[word]} {word}" for word in ("missing", "differing", "refused") if one[word]]
    if one["reason"]:
        told.append(one["reason"])
    return ", ".join([" ".join(told[:2]), *told[2:]])


async def show(desk: Desk, given: argparse.Namespace) -> int:
    """Show one."""
    one = await desk.one(given.job)
    if given.json:
        say(orjson.dumps(one).decode())
        return 0
    for name, value in one.items():
        say(f"{name:14}  {'-' if value in (None, '') else value}")
    return 0


async def list_all(desk: Desk, given: argparse.Namespace) -> int:
    """Show the newest."""
    async with desk.database.acquire() as db:
        rows = [dict(row) for row in await db.fetch(_NEWEST, given.limit)]
    for one in rows:
        said = f"{one['job_id']}  {one['source']}  {line_of(one)}"
        say(orjson.dumps(one).decode() if given.json else said)
    return 0


async def act(desk: Desk, given: argparse.Namespace) -> int:
    """Let one rest, go on, end, or try once more what did not come."""
    action: Action = given.action
    job = (await desk.one(given.job))["job_id"]
    async with desk.database.transaction() as db:
        done = await desk.jobs.table.act(db, job, action, by=given.by or operator())
    if done is None or done.after is None:
        state = "gone" if done is None else done.before
        raise Wrong(f"{action}: a migration that is {state} does not take this")
    say(f"migration {job} is {done.after}")
    return 0


async def first(desk: Desk, given: argparse.Namespace) -> int:
    """Have studies, or those of a patient, come before all else."""
    try:
        order = FirstOrder(studies=tuple(given.study), patient_id=given.patient)
    except ValidationError:
        raise Wrong("say --study UID (again for more) or --patient ID") from None
    migration = await desk.one(given.job)
    reply = await desk.first(migration["job_id"], order, given.by or operator())
    if reply.outcome != "done":
        raise Wrong(reply.reason)
    if not reply.body["studies"]:
        raise Wrong("the source has no such study")
    resting = " when it goes on" if reply.body["state"] == "PAUSED" else ""
    say(f"{reply.body['studies']} studies come first{resting}")
    return 0


async def report_of(desk: Desk, given: argparse.Namespace) -> int:
    """Write the reconciliation report as CSV, with the paths of files that were not taken."""
    one = await desk.one(given.job)
    writer = csv.writer(sys.stdout, lineterminator="\r\n")
    writer.writerow([*TITLES, "file"])
    async for line in report(desk.database, one["job_id"], exceptions=given.exceptions):
        path = desk.seal.open(line.location, purpose=LOCATION) if line.location else ""
        path = f"'{path}" if path.startswith(("=", "+", "-", "@")) else path
        writer.writerow(["" if value is None else value for value in [*line[:-1], path]])
    sys.stdout.flush()
    return 1 if _exceptions(one) else 0


_WAYS: Final = (
    ("get", "a PACS by C-FIND and C-GET"),
    ("move", "a PACS by C-FIND and C-MOVE, which must know us as a destination"),
    ("web", "an archive by QIDO-RS and WADO-RS"),
    ("directory", "a tree of DICOM files"),
    ("dicomdir", "a medium with a DICOMDIR"),
)
_ACTS: Final = (
    ("pause", "let it rest"),
    ("resume", "let it go on"),
    ("cancel", "bring nothing more; what is here stays"),
    ("retry", "try once more what is missing or was refused"),
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="darkroom migrate", description="Bring the studies of an earlier archive here."
    )
    words = parser.add_subparsers(required=True, metavar="WORD")
    for way, told in _WAYS:
        one = words.add_parser(way, help=told)
        one.set_defaults(work=start, way=way)
        if way in FILES:
            one.add_argument("directory", help="below MIGRATION_DIRECTORY; . is all of it")
        else:
            one.add_argument("source", help="the name of a destination")
        _how(one, of_files=way in FILES)
    for action, told in _ACTS:
        _of_one(words.add_parser(action, help=told)).set_defaults(work=act, action=action)
    bringing = _of_one(words.add_parser("first", help="have something come before all else"))
    bringing.add_argument("--study", action="append", default=[], metavar="UID", help="again")
    bringing.add_argument("--patient", default="", metavar="ID", help="all studies of one patient")
    bringing.set_defaults(work=first)
    telling = _of_one(words.add_parser("report", help="the reconciliation report as CSV"))
    telling.add_argument("--exceptions", action="store_true", help="only what is not there")
    telling.set_defaults(work=report_of)
    for word, work, told in (("show", show, "all of one"), ("watch", watch, "its progress")):
        _of_one(words.add_parser(word, help=told)).set_defaults(work=work)
    listing = words.add_parser("list", help="the newest")
    listing.add_argument("--limit", type=int, default=20, metavar="N")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    listing.set_defaults(work=list_all)
    return parser


def _of_one(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("job", nargs="?", default="", help="its id; left out: the newest")
    parser.add_argument("--by", help="who asks; default: the user of this process")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser


def _how(one: argparse.ArgumentParser, *, of_files: bool) -> None:
    day = dt.date.fromisoformat
    one.add_argument("--from", dest="date_from", type=day, metavar="DAY", help="of study dates")
    one.add_argument("--to", dest="date_to", type=day, metavar="DAY", help="YYYY-MM-DD")
    one.add_argument("--modality", action="append", default=[], metavar="M", help="again for more")
    one.add_argument("--bytes-per-second", type=int, metavar="N", help="at most")
    one.add_argument("--studies-at-once", type=int, default=2, metavar="N", help="1 to 8")
    one.add_argument(
        "--window",
        action="append",
        default=[],
        metavar="[DAYS ]HH:MM-HH:MM",
        help="when it may copy, as 'mon,tue 20:00-06:00'; again for more",
    )
    one.add_argument("--time-zone", default="UTC", metavar="ZONE", help="of the windows")
    one.add_argument(
        "--calling-ae-title",
        metavar="AE",
        help="as which the objects come to ingest" if of_files else argparse.SUPPRESS,
    )
    one.add_argument("--dry-run", action="store_true", help="say what would be asked for")
    one.add_argument("--wait", action="store_true", help="show its progress until it is over")
    one.add_argument("--by", help="who asks; default: the user of this process")
    one.add_argument("--json", action="store_true", help="progress as one JSON object a line")
