"""`python -m darkroom_api dead-letters`: messages that were given up.

What is replayed here is put back by the running api, within seconds. Exit code 0: done; 2: it
could not be done, and the text says why.
"""

import argparse
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import to_json

from darkroom_api.audit.actions import Action
from darkroom_api.audit.entries import AuditKeys, Entry
from darkroom_api.audit.log import AuditLog
from darkroom_api.dead_letters import letters
from darkroom_api.dead_letters.letters import State
from darkroom_api.settings import ApiSettings
from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.errors import DarkroomError
from darkroom_common.output import operator, say
from darkroom_common.postgres.listing import Window, page
from darkroom_common.postgres.migrate import require_compatible
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Connection, Database, open_database
from darkroom_common.seal import Seal
from darkroom_common.topology import WORK_QUEUES

_AT_ONCE: Final = 1000
_RESOURCE: Final = "dead_letter"
_ACTIONS: Final[dict[State, Action]] = {
    "REPLAYING": Action.DEAD_LETTER_REPLAY,
    "DISCARDED": Action.DEAD_LETTER_DISCARD,
}


class NotDone(DarkroomError):
    """What was asked for is not done; the text says why."""


async def dead_letters(settings: ApiSettings, arguments: Sequence[str]) -> int:
    """Be the command; return its exit code.

    Raises:
        DarkroomError: it could not be done.
        SystemExit: with code 2, after a usage line.
    """
    given = _parser().parse_args(arguments or ["list"])
    act: Callable[[LettersDesk, argparse.Namespace], Awaitable[int]] = given.act
    url = settings.postgres_url.get_secret_value()
    keys = AuditKeys(PhiKeys.parse(settings.audit_keys.get_secret_value(), setting="AUDIT_KEYS"))
    seal = Seal(PhiKeys.parse(settings.phi_keys.get_secret_value()))
    async with open_database(url, service="api-dead-letters", size=2) as database:
        await require_compatible(database, schema="api", package="darkroom_api")
        return await act(LettersDesk(database, AuditLog(keys, seal, SYSTEM_CLOCK)), given)


@dataclass
class LettersDesk:
    """What the words of the command do."""

    database: Database
    audit: AuditLog

    async def list(self, given: argparse.Namespace) -> int:
        """Tell what is there, the oldest first."""
        narrowed = {"queue": given.queue, "state": None if given.all else "HELD"}
        window = Window(letters.ORDERS["died_at"], given.limit)
        async with self.database.acquire() as db:
            found = await page(db, letters.COLUMNS, window, narrowed)
        for row in map(letters.shown, found.rows):
            if given.json:
                say(to_json(row).decode())
                continue
            say(
                f"{row['letter_id']}  {row['died_at']:%Y-%m-%d %H:%M:%S}  {row['state']:9}"
                f"  {row['queue']:18}  {row['type'] or '?'}  {_escaped(row['reason'])}"
            )
        if not given.json:
            say(f"{len(found.rows)} of {found.total}")
        return 0

    async def show(self, given: argparse.Namespace) -> int:
        """Tell all that may be told of one."""
        async with self.database.transaction() as db:
            found = letters.detail(await self._found(db, given.id))
            await self._record(db, Action.DEAD_LETTER_READ, found["letter_id"], {})
        if given.json:
            say(to_json(found).decode())
            return 0
        for name, value in found.items():
            say(f"{name:12} {_escaped(str(value))}")
        return 0

    async def change(self, given: argparse.Namespace) -> int:
        """Replay or discard one, or all that are held of a queue."""
        state: State = given.state
        if given.id:
            await self._change_one(given.id, state)
            count = 1
        elif given.queue and given.all:
            count = await self._change_all(given.queue, state)
        else:
            raise NotDone("say which: an ID, or --queue QUEUE --all")
        word = "to be replayed" if state == "REPLAYING" else "discarded"
        say(f"{count} {word}")
        return 0

    async def _change_one(self, letter_id: str, state: State) -> None:
        async with self.database.transaction() as db:
            row = await self._found(db, letter_id)
            if not await letters.change(db, letter_id, state, _user()):
                raise NotDone(f"{letter_id} is {row['state']} already")
            told = {name: row[name] for name in ("queue", "type", "message_id")}
            await self._record(db, _ACTIONS[state], row["letter_id"], told)

    async def _change_all(self, queue: str, state: State) -> int:
        total, changed = 0, _AT_ONCE
        while changed == _AT_ONCE:
            async with self.database.transaction() as db:
                changed = await letters.change_some(db, queue, state, _user(), _AT_ONCE)
                if changed:
                    told = {"queue": queue, "count": changed}
                    await self._record(db, _ACTIONS[state], "", told)
            total += changed
        return total

    async def _record(
        self, db: Connection, action: Action, letter_id: str, told: dict[str, Any]
    ) -> None:
        made = Entry(
            action=action,
            resource_type=_RESOURCE,
            resource_id=letter_id,
            username=_user(),
            privileged=True,
            details={**told, "command": True},
        )
        await self.audit.add(db, [made])

    @staticmethod
    async def _found(db: Connection, letter_id: str) -> Any:
        row = await letters.find(db, letter_id)
        if row is None:
            raise NotDone(f"there is no dead letter {letter_id!a}")
        return row


def _user() -> str:
    return f"{operator()} (command)"[:64]


def _escaped(text: str) -> str:
    return json.dumps(text)[1:-1]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="darkroom dead-letters", description="Messages that a service could not work on."
    )
    words = parser.add_subparsers(required=True, metavar="WORD")
    queues = [queue.name for queue in WORK_QUEUES]

    listing = words.add_parser("list", help="what is held, the oldest first")
    listing.add_argument("--queue", choices=queues, metavar="QUEUE")
    listing.add_argument("--all", action="store_true", help="also what was replayed or discarded")
    listing.add_argument("--limit", type=int, default=200, metavar="N")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    listing.set_defaults(act=LettersDesk.list)

    showing = words.add_parser("show", help="why one was given up, and what it is about, by ids")
    showing.add_argument("id", metavar="ID")
    showing.add_argument("--json", action="store_true")
    showing.set_defaults(act=LettersDesk.show)

    for word, state, text in (
        ("replay", "REPLAYING", "have one worked on again, or all of a queue"),
        ("discard", "DISCARDED", "delete one for good, or all of a queue"),
    ):
        changing = words.add_parser(word, help=text)
        changing.add_argument("id", nargs="?", metavar="ID")
        changing.add_argument("--queue", choices=queues, metavar="QUEUE")
        changing.add_argument("--all", action="store_true")
        changing.set_defaults(act=LettersDesk.change, state=state)
    return parser
