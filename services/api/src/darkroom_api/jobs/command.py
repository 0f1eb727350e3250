"""`python -m darkroom_api jobs`: what is being worked on, and what came of it, of every kind.

It tells ids, states and reasons: nothing that identifies a patient. Exit code 0: done; 2: it could
not be done.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic_core import to_json

from darkroom_api.app import VIEWS
from darkroom_api.desk.database import tell
from darkroom_api.settings import ApiSettings
from darkroom_common.errors import DarkroomError
from darkroom_common.output import say
from darkroom_common.postgres.migrate import require_compatible
from darkroom_common.postgres.pool import Connection, open_database

_OWN: Final = (
    "SELECT id AS job_id, {lane} AS lane, state, reason, attempts, {numbers}, created_at,"
    " finished_at FROM api.{table}"
)
SOURCES: Final[Mapping[str, str]] = {
    **{view.name: view.source for view in VIEWS},
    "export": _OWN.format(lane="format", numbers="done, total", table="export"),
    "bulk": _OWN.format(lane="what", numbers="gone_through AS done, total", table="bulk_change"),
    "mail": _OWN.format(lane="template", numbers="NULL AS done", table="mail"),
    "callback": _OWN.format(lane="callback", numbers="NULL AS done", table="callback_delivery"),
}
_SOME: Final = (
    "SELECT * FROM ({source}) AS jobs WHERE ($1::text IS NULL OR state = $1)"
    " AND ($2 OR finished_at IS NULL) ORDER BY created_at DESC LIMIT $3"
)
_ONE: Final = "SELECT * FROM ({source}) AS jobs WHERE job_id = $1"
_LANES: Final = ("lane", "destination", "printer", "remote", "source", "action")
_DONE: Final = ("sent", "done", "completed", "films_done", "studies_done")
_ALL: Final = ("total", "films", "instances", "studies")
_TOLD: Final = (
    *("kind", "job_id", "lane", "state", "done", "total", "attempts", "reason", "requested_by"),
    *("created_at", "next_at", "finished_at"),
)


class NoSuchJob(DarkroomError):
    """There is no job of this id."""


async def jobs(settings: ApiSettings, arguments: Sequence[str]) -> int:
    """Be the command; return its exit code.

    Raises:
        DarkroomError: it could not be done.
        SystemExit: with code 2, after a usage line.
    """
    given = _parser().parse_args(arguments or ["list"])
    url = settings.postgres_url.get_secret_value()
    async with open_database(url, service="api-jobs-command", size=1) as database:
        await require_compatible(database, schema="api", package="darkroom_api")
        async with database.acquire() as db:
            await given.act(db, given)
    return 0


async def list_jobs(db: Connection, given: argparse.Namespace) -> None:
    """Tell the newest: those that have not ended, or all."""
    found: list[dict[str, Any]] = []
    ended = bool(given.all or given.state)
    for kind in [given.kind] if given.kind else SOURCES:
        statement = _SOME.format(source=SOURCES[kind])
        rows = await db.fetch(statement, given.state, ended, given.limit)
        found += [told(kind, row) for row in rows]
    found.sort(key=lambda one: one["created_at"], reverse=True)
    found = found[: given.limit]
    if given.json:
        for one in found:
            say(to_json(one).decode())
        return
    tell([_line(one) for one in found], as_json=False)


async def show_job(db: Connection, given: argparse.Namespace) -> None:
    """Tell all of one that may be told.

    Raises:
        NoSuchJob: see there.
    """
    for kind, source in SOURCES.items():
        row = await db.fetchrow(_ONE.format(source=source), given.id)
        if row is None:
            continue
        one = told(kind, row)
        if given.json:
            say(to_json(one).decode())
            return
        for name, value in one.items():
            say(f"{name:12}  {'-' if value is None else value}")
        return
    raise NoSuchJob(f"there is no job {given.id!a}")


def told(kind: str, row: Any) -> dict[str, Any]:
    """Return what is told of a job, in words that all kinds share."""
    values = dict(row)
    for name, names in (("lane", _LANES), ("done", _DONE), ("total", _ALL)):
        values[name] = next((values[one] for one in names if values.get(one) is not None), None)
    return {name: {"kind": kind, **values}.get(name) for name in _TOLD}


def _line(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": one["kind"],
        "job": one["job_id"],
        "for": one["lane"],
        "state": one["state"],
        "done": bar(one["done"], one["total"]),
        "since": f"{one['created_at']:%Y-%m-%d %H:%M:%S}",
        "reason": one["reason"] or None,
    }


def bar(done: int | None, total: int | None) -> str | None:
    """Return how far a job is, drawn; None where nobody knows."""
    if done is None or not total:
        return None
    full = round(10 * min(done, total) / total)
    return f"{'#' * full}{'.' * (10 - full)} {done}/{total}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="darkroom jobs", description="Jobs of every kind.")
    words = parser.add_subparsers(required=True, metavar="WORD")
    listing = words.add_parser("list", help="the newest that have not ended")
    listing.add_argument("--kind", choices=list(SOURCES), metavar="KIND", help=", ".join(SOURCES))
    listing.add_argument("--state", metavar="STATE", help="in this state alone, as FAILED")
    listing.add_argument("--all", action="store_true", help="also those that have ended")
    listing.add_argument("--limit", type=int, default=50, metavar="N")
    listing.set_defaults(act=list_jobs)
    showing = words.add_parser("show", help="one of them")
    showing.add_argument("id", metavar="ID")
    showing.set_defaults(act=show_job)
    for one in (listing, showing):
        one.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser
