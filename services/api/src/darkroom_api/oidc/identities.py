"""Who somebody of a provider is here, and what their groups there let them do here."""

import uuid
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request

from darkroom_api.accounts import sessions
from darkroom_api.accounts.accounts import find_user, is_seen, name_key
from darkroom_api.accounts.sessions import Means
from darkroom_api.accounts.signing_in import SignedIn, actor_of, record_login
from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import record
from darkroom_api.http.parts import parts_of
from darkroom_api.oidc.provider import Identity, Refused
from darkroom_api.people.administration import alone
from darkroom_common.postgres.pool import Connection
from darkroom_common.specs.storable import is_text

_FIND: Final = "SELECT user_id FROM api.identity WHERE issuer = $1 AND subject = $2"
_ADD_USER: Final = (
    "INSERT INTO api.app_user (username, username_key, password_hash, full_name, email)"
    " VALUES ($1, $2, '', $3, CASE WHEN EXISTS (SELECT FROM api.app_user u"
    "   WHERE lower(u.email) = lower($4)) THEN '' ELSE $4 END)"
    " ON CONFLICT (username_key) DO NOTHING RETURNING id"
)
"""Without a password; an address that somebody has already stays theirs."""
_ADD: Final = "INSERT INTO api.identity (issuer, subject, user_id) VALUES ($1, $2, $3)"
_CHANGED: Final = (
    "UPDATE api.app_user SET full_name = $2, version = version + 1, updated_at = now()"
    " WHERE id = $1"
)
_KNOWN: Final = "SELECT name FROM api.role WHERE name = ANY($1::text[]) ORDER BY name"
_TAKE: Final = "DELETE FROM api.user_role WHERE user_id = $1 AND NOT role = ANY($2::text[])"
_GIVE: Final = (
    "INSERT INTO api.user_role (user_id, role) SELECT $1, unnest($2::text[]) ON CONFLICT DO NOTHING"
)
_LENGTHS: Final = {"username": 150, "full_name": 200, "email": 254}


async def sign_in(request: Request, identity: Identity, means: Means) -> SignedIn:
    """Begin a session of somebody of the provider, who is made a user here at the first time.

    Their roles are those of their groups, each time anew.

    Raises:
        Refused: no group of theirs has a role here; the name is somebody else's; they were
            deactivated here.
        ApiError: 409, they would be the last administrator, and their groups say otherwise.
    """
    parts = parts_of(request.scope)
    async with parts.database.transaction() as db, alone(db):
        roles = await _roles(request, db, identity.claims)
        user_id = await db.fetchval(_FIND, identity.issuer, identity.subject)
        if user_id is None:
            user_id = await _added(request, db, identity)
        before = await find_user(db, user_id)
        if before is None:
            raise Refused("deactivated")
        full_name = _text(identity.claims, "name", "full_name")
        if before.full_name != full_name or before.roles != roles:
            await db.execute(_CHANGED, user_id, full_name)
        await db.execute(_TAKE, user_id, roles)
        await db.execute(_GIVE, user_id, roles)
        user = await find_user(db, user_id) or before
        if user.roles != before.roles:
            await record(
                db,
                request.scope,
                Action.PERMISSION_CHANGE,
                "user",
                str(user_id),
                details={"roles": {"old": before.roles, "new": user.roles}, "by": "groups"},
                actor=actor_of(user),
            )
        session_id, token = await sessions.begin(db, user_id, means)
        await record_login(db, request.scope, user, session_id, means)
    parts.guard.forget()
    return SignedIn(session_id, user, token, means.browser)


async def _roles(request: Request, db: Connection, claims: Mapping[str, Any]) -> list[str]:
    settings = parts_of(request.scope).settings
    groups = claims.get(settings.oidc_groups_claim)
    named = groups if isinstance(groups, list) else [groups]
    groups_here = {one for one in named if isinstance(one, str)} & settings.oidc_roles.keys()
    wanted = {settings.oidc_roles[one] for one in groups_here}
    found = [row["name"] for row in await db.fetch(_KNOWN, sorted(wanted))]
    if not found:
        raise Refused("no group with a role")
    return found


async def _added(request: Request, db: Connection, identity: Identity) -> uuid.UUID:
    """Add somebody who is here for the first time.

    A name that somebody has here is theirs: whoever chose it at the provider does not become them.
    """
    claims = identity.claims
    wanted = parts_of(request.scope).settings.oidc_username_claim
    username = _text(claims, wanted, "username").strip() or identity.subject[:150]
    if not is_seen(username):
        raise Refused("a name that cannot be seen")
    email = _text(claims, "email", "email") if claims.get("email_verified") is not False else ""
    user_id: uuid.UUID | None = await db.fetchval(
        _ADD_USER, username, name_key(username), _text(claims, "name", "full_name"), email
    )
    if user_id is None:
        raise Refused("somebody else has this name")
    await db.execute(_ADD, identity.issuer, identity.subject, user_id)
    await record(
        db, request.scope, Action.USER_CREATE, "user", str(user_id), details={"by": "groups"}
    )
    return user_id


def _text(claims: Mapping[str, Any], claim: str, kept_as: str) -> str:
    value = claims.get(claim)
    text = value if isinstance(value, str) and is_text(value) else ""
    return text[: _LENGTHS[kept_as]]
