"""Recording what a request has done: who asked, from where, and with what program."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypedDict, Unpack

from starlette.types import Scope

from darkroom_api.accounts.guard import Principal
from darkroom_api.accounts.permissions import EVERYTHING
from darkroom_api.audit.actions import PRIVILEGED, Action
from darkroom_api.audit.entries import Entry, Outcome, address_in
from darkroom_api.edge.agents import CONSOLE
from darkroom_api.http.parts import parts_of
from darkroom_common.postgres.pool import Connection

_USER_AGENT: Final = b"user-agent"
_REQUESTED_WITH: Final = b"x-requested-with"
_SCRIPTS: Final = CONSOLE.lower().encode()
"""What scripts of the console's pages say in it, since they cannot name themselves."""


@dataclass(frozen=True)
class Actor:
    """Who did it, for a request whose token does not say so: a sign-in."""

    user_id: str
    username: str
    permissions: frozenset[str] = frozenset()


class More(TypedDict, total=False):
    """What may be said of an act beside who did what.

    Attributes:
        details: as JSON; nothing that identifies a patient.
        phi: what identifies a patient, such as an old and a new name: it is sealed.
        outcome: whether it was done; without it, it was.
        actor: who did it, where no token says so.
    """

    details: Mapping[str, Any]
    phi: Mapping[str, Any]
    outcome: Outcome
    actor: Actor


async def record(
    db: Connection,
    scope: Scope,
    action: Action,
    resource_type: str = "",
    resource_id: str = "",
    **more: Unpack[More],
) -> None:
    """Write what a request does, in the transaction that does it.

    Args:
        db: with the transaction.
        scope: of the request; it may be of somebody who is not signed in.
        action: what is done.
        resource_type: with what, in one word: `study`, `user`, `export`.
        resource_id: with which one.
        more: see there.

    Raises:
        DependencyUnavailable: the database is away.
    """
    if not parts_of(scope).settings.ff_audit_enabled:
        return
    made = entry(scope, action, resource_type, resource_id, **more)
    await parts_of(scope).audit.add(db, [made])


def entry(
    scope: Scope,
    action: Action,
    resource_type: str = "",
    resource_id: str = "",
    **more: Unpack[More],
) -> Entry:
    """Return what is kept of an act of a request; see `record`."""
    who = more.get("actor") or _signed_in(scope.get("principal"))
    client: tuple[str, int] | None = scope.get("client")
    return Entry(
        action=action,
        resource_type=resource_type,
        resource_id=resource_id,
        user_id=who.user_id,
        username=who.username,
        address=address_in(client[0]) if client else None,
        user_agent=_agent(scope),
        privileged=action in PRIVILEGED or EVERYTHING in who.permissions,
        outcome=more.get("outcome", "success"),
        details=more.get("details", {}),
        phi=more.get("phi", {}),
    )


def _agent(scope: Scope) -> str:
    headers = dict(scope["headers"])
    found: str = headers.get(_USER_AGENT, b"").decode("latin-1")
    by_script = headers.get(_REQUESTED_WITH) == _SCRIPTS
    return f"{CONSOLE} {found}" if by_script else found


def _signed_in(principal: Principal | None) -> Actor:
    if principal is None:
        return Actor("", "")
    return Actor(str(principal.user_id), principal.username, principal.permissions)
