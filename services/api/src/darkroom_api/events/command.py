"""`python -m darkroom_api events`: the log of events, and what comes, until interrupted.

It tells what the event stream tells an administrator: nothing that identifies a patient. Exit code
0: done; 1: some of what was asked for is not kept any more; 2: it could not be done.
"""

import argparse
import asyncio
from collections.abc import Sequence
from typing import Final

from darkroom_api.callbacks.spec import EVENT_TYPES
from darkroom_api.events import log
from darkroom_api.events.log import Entry
from darkroom_api.settings import ApiSettings
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.output import say
from darkroom_common.postgres.migrate import require_compatible
from darkroom_common.postgres.pool import Database, open_database

_POLL_SECONDS: Final = 0.5
_GONE: Final = 1


async def events(settings: ApiSettings, arguments: Sequence[str]) -> int:
    """Be the command; return its exit code.

    Raises:
        DarkroomError: it could not be done.
        SystemExit: with code 2, after a usage line.
    """
    given = _parser().parse_args(arguments)
    url = settings.postgres_url.get_secret_value()
    async with open_database(url, service="api-events-command", size=1) as database:
        await require_compatible(database, schema="api", package="darkroom_api")
        return await _tell(database, given)


async def _tell(database: Database, given: argparse.Namespace) -> int:
    async with database.acquire() as db:
        ends = await log.ends(db)
    position = given.after
    if position is None:
        position = ends.newest if given.follow else max(0, ends.newest - given.last)
    code = _GONE if given.after is not None and position < ends.removed_to else 0
    if code:
        say(f"# what is after {position} is kept from {ends.removed_to + 1} on alone")
    while True:
        try:
            async with database.acquire() as db:
                found = await log.page(db, position)
        except DependencyUnavailable:
            if not given.follow:
                raise
            found = []
        for one in found:
            if not given.types or one.type in given.types:
                say(_json(one) if given.json else f"{one.number}  {one.at}  {one.type}  {one.data}")
            position = one.number
        if found:
            continue
        if not given.follow:
            return code
        await asyncio.sleep(_POLL_SECONDS)


def _json(one: Entry) -> str:
    head = f'"number":{one.number},"id":"{one.id}","type":"{one.type}","timestamp":"{one.at}"'
    return f'{{{head},"data":{one.data}}}'


def _types(text: str) -> list[str]:
    named = [one.strip() for one in text.split(",")]
    if not set(named) <= set(EVENT_TYPES):
        raise argparse.ArgumentTypeError(f"types are {', '.join(EVENT_TYPES)}")
    return named


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="darkroom events",
        description="What has happened: the last events, or those that come.",
    )
    parser.add_argument("--follow", action="store_true", help="go on until interrupted")
    parser.add_argument(
        "--after", type=int, metavar="NUMBER", help="from there on: the number that you saw last"
    )
    parser.add_argument("--last", type=int, default=20, metavar="N", help="without the others")
    parser.add_argument("--types", type=_types, metavar="TYPE,...", help="of these types alone")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser
