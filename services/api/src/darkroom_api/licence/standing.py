"""The licence as licensing has told it last, in a table of our own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from darkroom_api.http.errors import not_licensed
from darkroom_api.licence.decision import NewWork, refusal
from darkroom_api.mail.repository import Mail
from darkroom_common.messages.base import Message
from darkroom_common.messages.events import LicenceChecked
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.topology import API_LICENCE

log = get_logger(__name__)
INBOX: Final = Inbox("api", API_LICENCE.name)
_TOLD: Final = "SELECT told FROM api.licence"
_LOCKED: Final = "SELECT told FROM api.licence FOR UPDATE"
_KEEP: Final = (
    "INSERT INTO api.licence (told) VALUES ($1)"
    " ON CONFLICT (one) DO UPDATE SET told = excluded.told, received_at = now()"
)
_THERE: Final = "SELECT count(*) FROM TABLE"
_USERS: Final = "SELECT count(*) FROM api.app_user WHERE active"


async def told(db: Connection) -> LicenceChecked | None:
    """Return what was told last; None when nothing was, or nothing that can be read."""
    return _read(await db.fetchval(_TOLD))


def _read(text: str | None) -> LicenceChecked | None:
    if text is None:
        return None
    try:
        return LicenceChecked.model_validate_json(text)
    except ValidationError:  # of another release: it refuses nothing
        log.error("licence.unreadable")
        return None


async def require_room(db: Connection, work: NewWork) -> None:
    """Let nothing be added that the licence does not cover.

    Raises:
        ApiError: 402, with the true reason.
    """
    licence = await told(db)
    statement = _THERE.replace("TABLE", work.table) if work.table else _USERS
    there = 0 if work.counted is None else await db.fetchval(statement)
    reason = refusal(licence, work, there)
    if reason:
        raise not_licensed(reason)


async def most_of(db: Connection, work: NewWork) -> int | None:
    """Return how many there may be of what counts: for whoever adds them one after the other."""
    licence = await told(db)
    return None if licence is None or not work.counted else licence.entitlements.get(work.counted)


@dataclass(frozen=True)
class Standings:
    """Takes what the queue `api.licence` holds.

    Attributes:
        operators: who hears of it by e-mail.
    """

    database: Database
    mail: Mail
    operators: Sequence[str]

    async def handle(self, message: Message) -> None:
        """Keep it, unless a later one is there; write to operators when there is something new."""
        if not isinstance(message, LicenceChecked):
            raise TypeError(f"{API_LICENCE.name} got {message.TYPE}")
        async with self.database.transaction() as db:
            if not await INBOX.first_time(db, message.id):
                return
            before = _read(await db.fetchval(_LOCKED))
            if before is not None and before.number > message.number:
                return
            await db.execute(_KEEP, message.to_body().decode())
            stage = "" if before is None else before.stage
            if message.stage == stage:
                return
            values = {
                "reason": message.reason,
                "read_only": message.read_only,
                "normal": not message.stage,
            }
            for address in self.operators:
                await self.mail.put(db, "licence", address, values)
