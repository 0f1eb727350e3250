"""`python -m darkroom_api audit`: what was done, by whom, and whether the log of it is whole.

Exit code 0: done; 1: verification has found something; 2: it could not be done.
"""

import argparse
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Final

from pydantic import ValidationError

from darkroom_api.audit import csv_rows
from darkroom_api.audit.actions import Action
from darkroom_api.audit.anchor import Anchor, AnchorFile
from darkroom_api.audit.entries import AuditKeys, Entry, Outcome
from darkroom_api.audit.log import AuditLog
from darkroom_api.audit.query import AuditSearch, search, shown, summary
from darkroom_api.audit.verification import Place, Verification
from darkroom_api.settings import ApiSettings
from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.errors import DarkroomError
from darkroom_common.output import operator, say
from darkroom_common.postgres.migrate import require_compatible
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Database, open_database
from darkroom_common.seal import Seal
from darkroom_common.telemetry.logs import clean_text

FAULTY: Final = 1
_DAYS: Final = 7
_FILTERS: Final = ("user_id", "action", "resource_type", "resource_id", "start_date", "end_date")


class NotAsked(DarkroomError):
    """What was asked for makes no sense; the text says which option."""


async def audit(settings: ApiSettings, arguments: Sequence[str]) -> int:
    """Be the command; return its exit code.

    Raises:
        DarkroomError: it could not be done.
        SystemExit: with code 2, after a usage line.
    """
    given = _parser().parse_args(arguments or ["summary"])
    act: Callable[[AuditDesk, argparse.Namespace], Awaitable[int]] = given.act
    url = settings.postgres_url.get_secret_value()
    async with open_database(url, service="api-audit", size=2) as database:
        await require_compatible(database, schema="api", package="darkroom_api")
        return await act(AuditDesk(settings, database), given)


@dataclass
class AuditDesk:
    """What the words of the command do."""

    settings: ApiSettings
    database: Database

    def __post_init__(self) -> None:
        """Read the keys."""
        given = self.settings
        self._keys = AuditKeys(
            PhiKeys.parse(given.audit_keys.get_secret_value(), setting="AUDIT_KEYS")
        )
        self._seal = Seal(PhiKeys.parse(given.phi_keys.get_secret_value()))
        self._log = AuditLog(self._keys, self._seal, SYSTEM_CLOCK)

    async def summary(self, given: argparse.Namespace) -> int:
        """Tell how often each action was done in the last days, and by how many users."""
        now = SYSTEM_CLOCK.now()
        async with self.database.transaction() as db:
            summed = await summary(db, now - timedelta(days=given.days), now)
            await self._log.add(db, [_read(Action.AUDIT_READ, {"days": given.days})])
        if given.json:
            say(json.dumps([asdict(one) for one in summed]))
            return 0
        say(f"{'action':24} {'count':>10} {'failures':>10} {'users':>8}")
        for one in summed:
            say(
                f"{clean_text(one.action):24} {one.count:>10} {one.failures:>10}"
                f" {one.unique_users:>8}"
            )
        return 0

    async def list(self, given: argparse.Namespace) -> int:
        """Tell the newest rows of the last days, or of a search."""
        asked = _asked(given, page_size=given.limit, page=given.page)
        async with self.database.transaction() as db:
            found = await search(db, asked, None)
            await self._log.add(db, [_read(Action.AUDIT_READ, {"filters": _given(given)})])
        for row in found.rows:
            item = shown(row, self._seal if given.phi else None)
            if given.json:
                say(item.model_dump_json())
                continue
            what = f"{item.resource_type or ''} {item.resource_id or ''}".strip()
            marks = f"{'!' if item.outcome == 'failure' else ' '}{'*' if item.privileged else ' '}"
            line = (
                f"{item.timestamp:%Y-%m-%d %H:%M:%S} {marks} {item.action:20}"
                f" {item.username or '-':20} {item.ip_address or '-':15} {what}"
                f" {json.dumps(item.details, ensure_ascii=False) if item.details else ''}"
            )
            say(line.rstrip() if given.phi else clean_text(line.rstrip()))
        if not given.json:
            about = "about " if found.is_estimate else ""
            say(f"{len(found.rows)} of {about}{found.total} rows")
        return 0

    async def export(self, given: argparse.Namespace) -> int:
        """Write the rows of a search as CSV to standard output."""
        asked = _asked(given)
        async with self.database.transaction() as db:
            await self._log.add(db, [_read(Action.AUDIT_EXPORT, {"filters": _given(given)})])
        async for part in csv_rows.rows(self.database, asked):
            sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
        return 0

    async def verify(self, given: argparse.Namespace) -> int:
        """Check every row and the chain, and name what is wrong."""
        path = self.settings.audit_anchor
        file = None if path is None else AnchorFile(path)
        verification = Verification(self.database, self._keys, self._seal, file)
        place: Place | None = Place()
        rows = links = faults = 0
        last = Place()
        while place is not None:
            step = await verification.step(place, given.anchor)
            place, last = step.place, step.end
            rows, links, faults = rows + step.rows, links + step.links, faults + len(step.faults)
            for fault in step.faults:
                log_id = None if fault.log_id is None else str(fault.log_id)
                if given.json:
                    say(json.dumps({"kind": fault.kind, "log_id": log_id, "link": fault.link}))
                else:
                    say(f"{fault.kind}: row {log_id or '-'} link {fault.link or '-'}")
        outcome: Outcome = "failure" if faults else "success"
        details = {"rows": rows, "links": links, "faults": faults}
        async with self.database.transaction() as db:
            await self._log.add(db, [_read(Action.AUDIT_VERIFY, details, outcome)])
        anchor = f"{last.number}:{last.mac.hex()}"
        if given.json:
            say(json.dumps({**details, "anchor": anchor}))
        else:
            say(f"{rows} rows, {links} links, {faults or 'no'} faults; anchor {anchor}")
        return FAULTY if faults else 0


def _read(action: Action, details: dict[str, Any], outcome: Outcome = "success") -> Entry:
    """Return the row of what an operator does at the machine itself."""
    return Entry(
        action,
        "audit",
        username=operator(),
        user_agent="darkroom audit",
        privileged=True,
        outcome=outcome,
        details=details,
    )


def _given(given: argparse.Namespace) -> list[str]:
    return [name for name in _FILTERS if getattr(given, name) is not None]


def _asked(given: argparse.Namespace, **page: int) -> AuditSearch:
    filters = {name: getattr(given, name) for name in _given(given)}
    if "start_date" not in filters and given.days is not None:
        filters["start_date"] = SYSTEM_CLOCK.now() - timedelta(days=given.days)
    try:
        return AuditSearch(**filters, **page)
    except ValidationError as error:
        names = ", ".join(str(one["loc"][0]) for one in error.errors(include_input=False))
        raise NotAsked(f"no such value: {names}") from None


def _anchor(text: str) -> Anchor:
    return Anchor.parse(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="darkroom audit", description="What was done, by whom, and whether the log is whole."
    )
    words = parser.add_subparsers(required=True, metavar="summary | list | export | verify")

    def word(name: str, act: Any, about: str) -> argparse.ArgumentParser:
        made = words.add_parser(name, help=about, description=about)
        made.set_defaults(act=act)
        return made

    counted = word("summary", AuditDesk.summary, "How often each action was done (7 days).")
    counted.add_argument("--days", type=int, default=_DAYS)
    listed = word("list", AuditDesk.list, "The newest rows; ! failed, * privileged.")
    listed.add_argument("--limit", type=int, default=50, help="at most 200")
    listed.add_argument("--page", type=int, default=1)
    listed.add_argument("--phi", action="store_true", help="also what identifies patients")
    exported = word("export", AuditDesk.export, "All rows as CSV.")
    for one in (listed, exported):
        for name in _FILTERS:
            one.add_argument(f"--{name.replace('_', '-')}")
        one.add_argument("--days", type=int, help="of the last days alone")
    verified = word("verify", AuditDesk.verify, "Check every row; exit 1 when something is wrong.")
    verified.add_argument(
        "--anchor",
        type=_anchor,
        action="append",
        default=[],
        metavar="NUMBER:CODE",
        help="a link that the chain has had, from the log of security events",
    )
    for one in (counted, listed, verified):
        one.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser
