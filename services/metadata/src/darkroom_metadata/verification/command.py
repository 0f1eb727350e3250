"""`python -m darkroom_metadata verify`: an operator's run, told line by line.

Exit code 0: no finding is open; 1: some are; 2: it could not run, or not to its end. A run that was
interrupted goes on where it was when the same is asked for again.
"""

import argparse
import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from darkroom_common.clock import monotonic
from darkroom_common.errors import TransientError
from darkroom_common.objects.store import ObjectStore, open_store
from darkroom_common.objects.tiered import TieredStore, is_charged
from darkroom_common.output import say
from darkroom_common.postgres.migrate import require_compatible
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection, Database, open_database
from darkroom_metadata.replication.replicating import Replicating
from darkroom_metadata.settings import MetadataSettings
from darkroom_metadata.verification.expected import Run, total
from darkroom_metadata.verification.judgement import Finding, Pace
from darkroom_metadata.verification.ledger import Ledger
from darkroom_metadata.verification.reconciler import Objects
from darkroom_metadata.verification.repairing import Repairs
from darkroom_metadata.verification.replica import Replica
from darkroom_metadata.verification.verification import Brake, Contents, Rows, Step

LOCK_SECONDS: Final = 600.0
_LOCK_POLL: Final = 0.2
_CHARGED: Final = "its class charges for what is read: --archive reads it back"
_WORST_FIRST: Final = 1000
"""Findings that are told one by one; the rest are counted."""


class Busy(TransientError):
    """Another verification is at work."""


@dataclass(frozen=True)
class Options:
    """What an operator asks for."""

    read_all: bool = False
    since: datetime | None = None
    repair: bool = False
    archive: bool = False
    as_json: bool = False
    bytes_per_second: int | None = None


Tell = Callable[[dict[str, Any]], None]


def parse(arguments: Sequence[str]) -> Options:
    """Read the command's arguments.

    Raises:
        SystemExit: with code 2, after a usage line.
    """
    parser = argparse.ArgumentParser(prog="python -m darkroom_metadata verify")
    reading = parser.add_mutually_exclusive_group()
    reading.add_argument("--all", action="store_true", help="also read every object back")
    reading.add_argument(
        "--since", type=_moment, metavar="DATE", help="also read back what was received since"
    )
    parser.add_argument(
        "--repair",
        action="store_true",
        help="have objects without a row indexed, and copy damaged ones from the second store",
    )
    parser.add_argument(
        "--archive",
        action="store_true",
        help="with --all or --since: also of a slow store whose class charges for what is read",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--bytes-per-second", type=int, metavar="N", help="0 is no limit; default: the setting"
    )
    given = parser.parse_args(arguments)
    return Options(
        given.all, given.since, given.repair, given.archive, given.json, given.bytes_per_second
    )


def _moment(text: str) -> datetime:
    """Read an ISO 8601 date or time; without a zone it is UTC."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


async def verify(settings: MetadataSettings, arguments: Sequence[str]) -> int:
    """Be the command; return its exit code.

    Raises:
        DarkroomError: it could not run.
    """
    options = parse(arguments)
    tell = _as_json if options.as_json else _as_text
    store = open_store(settings.store_url)
    url = settings.postgres_url.get_secret_value()
    async with open_database(url, service="metadata-verify", size=2) as database:
        await require_compatible(database, schema="index", package="darkroom_metadata")
        return await run_checks(database, store, settings, options, tell)


async def run_checks(
    database: Database, store: ObjectStore, settings: MetadataSettings, options: Options, tell: Tell
) -> int:
    """Run the checks that `options` ask for, one after the other.

    Raises:
        Busy: another verification did not let go of the lock in time.
        DependencyUnavailable: the database or the store is away; the run can be gone on with.
    """
    rate = options.bytes_per_second
    brake = Brake(Pace(settings.verify_bytes_per_second if rate is None else rate))
    ledger = Ledger(Outbox("index"))
    grace = timedelta(seconds=settings.verify_grace_seconds)
    objects = Objects(store, ledger, brake, grace, repair=options.repair)
    replicating = Replicating.of(settings, database, store, ledger.outbox)
    repairs = None
    if options.repair and replicating.copies:
        repairs = Repairs(store, replicating.second, replicating.copies, ledger, brake)
    reading = [Contents.of(store, ledger, brake)]
    steps: list[Step] = [Rows(store, ledger, brake), objects]
    if isinstance(store, TieredStore):
        if options.archive or not is_charged(settings.store_url):
            reading.append(Contents.of_slow(store, ledger, brake))
        elif options.read_all or options.since:
            tell({"event": "passed-over", "check": "slow", "reason": _CHARGED})
    if options.read_all:
        # Reading back sees all that the rows' check sees, of one store.
        steps = [*reading, *(steps if isinstance(store, TieredStore) else [objects])]
        if replicating.second is not None:
            steps.append(Replica(replicating.second, ledger, brake))
    elif options.since:
        steps = [*reading, *steps]
    async with database.session() as db:
        await _lock(db, ledger, tell)
        for step in steps:
            await _finish(db, ledger, step, options, tell)
        while repairs is not None and (tried := await repairs.pending(db)):
            tell({"event": "repair", "tried": tried})
        found = await ledger.open_findings(db)
    tell({"event": "summary", "open": {kind.value: n for kind, n in found.items() if n}})
    return 1 if any(found.values()) else 0


async def _lock(db: Connection, ledger: Ledger, tell: Tell) -> None:
    ends = monotonic() + LOCK_SECONDS
    waiting = False
    while not await ledger.lock(db):
        if not waiting:
            waiting = True
            tell({"event": "waiting", "reason": "another verification is at work"})
        if monotonic() > ends:
            raise Busy("another verification is at work; try again later")
        await asyncio.sleep(_LOCK_POLL)


async def _finish(db: Connection, ledger: Ledger, step: Step, options: Options, tell: Tell) -> None:
    """Run one check to its end."""
    began = monotonic()
    scope = f"since {options.since.isoformat()}" if options.since else "all"
    run = await ledger.open(db, step.check, scope, age=timedelta(0), since=options.since)
    await ledger.abandon(db, run)
    objects, size = await total(db, run)
    tell(_progress("started", run) | {"objects": objects, "total_bytes": size})
    told = 0
    while not run.finished:
        run, findings = await step.advance(db, run)
        for finding in findings:
            if told < _WORST_FIRST:
                tell(_finding(run, finding))
            told += 1
        tell(_progress("progress", run))
    seconds = round(monotonic() - began, 3)
    tell(_progress("finished", run) | {"seconds": seconds, "untold": max(0, told - _WORST_FIRST)})


def _progress(event: str, run: Run) -> dict[str, Any]:
    return {
        "event": event,
        "check": run.check.value,
        "checked": run.checked,
        "bytes": run.bytes,
        "findings": run.findings,
    }


def _finding(run: Run, finding: Finding) -> dict[str, Any]:
    return {
        "event": "finding",
        "check": run.check.value,
        "kind": finding.kind.value,
        "object_key": finding.object_key,
        "receipt": finding.receipt,
        "sop_instance_uid": finding.expected.sop_instance_uid if finding.expected else None,
    }


def _as_json(line: dict[str, Any]) -> None:
    say(json.dumps(line))


def _as_text(line: dict[str, Any]) -> None:
    words = " ".join(f"{name}={value}" for name, value in line.items() if name != "event")
    say(f"{line['event']} {words}")
