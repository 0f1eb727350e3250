"""What holds for every change of users and roles.

One such change happens at a time, whoever makes it: it waits for a lock of the database, and reads
what the one who makes it may do after that. So nobody grants what they have just lost, and of two
administrators who remove each other, one stays.
"""

import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

from starlette.requests import Request

from darkroom_api.accounts.guard import still_holds
from darkroom_api.accounts.permissions import EVERYTHING, common, exceeding
from darkroom_api.http.errors import ApiError, Code, permission_denied, token_invalid
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.parts import parts_of
from darkroom_common.postgres.pool import Connection

_ONE_AT_A_TIME: Final = "SELECT pg_advisory_xact_lock(hashtext('darkroom.people'))"
_RIGHTS_OF: Final = "SELECT permissions FROM api.user_rights WHERE user_id = $1"
_RIGHTS_OF_KEY: Final = "SELECT permissions FROM api.api_key WHERE id = $1"
_ADMINISTRATORS: Final = """
    SELECT count(*) FROM api.app_user u JOIN api.user_rights w ON w.user_id = u.id
    WHERE u.active AND $1 = ANY(w.permissions)
"""


@asynccontextmanager
async def alone(db: Connection) -> AsyncIterator[None]:
    """Let no other change of users or roles happen until the transaction ends, nor lose them all.

    Raises:
        ApiError: 409, nobody would be left who may do everything.
    """
    await db.execute(_ONE_AT_A_TIME)
    before = await db.fetchval(_ADMINISTRATORS, EVERYTHING)
    yield
    if before and not await db.fetchval(_ADMINISTRATORS, EVERYTHING):
        raise ApiError(409, Code.CONFLICT, "This is the last administrator.")


@asynccontextmanager
async def administration(request: Request) -> AsyncIterator[tuple[Connection, frozenset[str]]]:
    """Change users and roles in one transaction.

    Yields:
        the transaction, and what the one who asks may do in it: of a key, no more than the key.

    Raises:
        ApiError: 401, the session has ended meanwhile; 409, see `alone`.
    """
    parts, principal = parts_of(request.scope), principal_of(request.scope)
    async with parts.database.transaction() as db, alone(db):
        if not await still_holds(db, principal):
            parts.guard.forget()
            raise token_invalid()
        held = await rights_of(db, principal.user_id)
        if principal.key_id is not None:
            of_key = await db.fetchval(_RIGHTS_OF_KEY, principal.key_id)
            held = common(held, frozenset(of_key))
        yield db, held
    parts.guard.forget()


async def rights_of(db: Connection, user_id: uuid.UUID) -> frozenset[str]:
    """Return what a user may do now."""
    return frozenset(await db.fetchval(_RIGHTS_OF, user_id) or ())


def require_all(wanted: Iterable[str], held: frozenset[str]) -> None:
    """Let nobody grant, or take a hand in, what goes beyond what they may do.

    Raises:
        ApiError: 403, names the first permission that is missing.
    """
    beyond = exceeding(wanted, held)
    if beyond:
        raise permission_denied(beyond[0])
