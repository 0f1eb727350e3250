"""`python -m darkroom_api sign-in-link`: what opens the console once, for who has this machine.

It is the first refresh token of a session of a browser: good once, for a quarter of an hour. A
second use ends the session. It is written to standard output and kept nowhere, but for its digest.
Exit code 0: done; 2: it could not be done.
"""

import argparse
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from darkroom_api.accounts import sessions
from darkroom_api.accounts.accounts import USER, name_key
from darkroom_api.accounts.sessions import Means
from darkroom_api.audit.actions import Action
from darkroom_api.audit.entries import AuditKeys, Entry
from darkroom_api.audit.log import AuditLog
from darkroom_api.settings import ApiSettings
from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.errors import DarkroomError
from darkroom_common.output import operator, say
from darkroom_common.postgres.migrate import require_compatible
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import open_database
from darkroom_common.seal import Seal

LIFETIME: Final = timedelta(minutes=15)
_SECOND: Final = "SELECT true FROM api.totp WHERE user_id = $1 AND confirmed_at IS NOT NULL"


class NoLink(DarkroomError):
    """Nobody is let in by a link; the text says why."""


async def sign_in_link(settings: ApiSettings, arguments: Sequence[str]) -> int:
    """Be the command; return its exit code.

    Raises:
        DarkroomError: it could not be done.
        SystemExit: with code 2, after a usage line.
    """
    parser = argparse.ArgumentParser(prog="sign-in-link", description=__doc__)
    parser.add_argument("--user", default="admin", help="whose; admin when left out")
    given = parser.parse_args(arguments)
    keys = PhiKeys.parse(settings.phi_keys.get_secret_value())
    audit_keys = PhiKeys.parse(settings.audit_keys.get_secret_value(), setting="AUDIT_KEYS")
    log = AuditLog(AuditKeys(audit_keys), Seal(keys), SYSTEM_CLOCK)
    url = settings.postgres_url.get_secret_value()
    async with open_database(url, service="api-link", size=1) as database:
        await require_compatible(database, schema="api", package="darkroom_api")
        async with database.transaction() as db:
            user = await db.fetchrow(f"{USER} WHERE u.username_key = $1", name_key(given.user))
            if user is None or not user["active"]:
                raise NoLink("there is nobody of this name who may sign in")
            if await db.fetchval(_SECOND, user["id"]):
                raise NoLink("who has a second factor signs in with it")
            means = Means("link", browser=True, address="", user_agent="")
            session, token = await sessions.begin(db, user["id"], means, lifetime=LIFETIME)
            made = Entry(
                Action.AUTH_LOGIN,
                "session",
                str(session),
                username=operator(),
                details={"method": "link", "user_id": str(user["id"])},
            )
            await log.add(db, [made])
    say(token)
    return 0
