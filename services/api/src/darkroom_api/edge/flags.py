"""The five feature flags of 002 section 11.2, and what happens while one is off."""

import re
import uuid
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.types import Scope

from darkroom_api.accounts import sessions
from darkroom_api.accounts.client import address_of
from darkroom_api.accounts.guard import Presence, Principal
from darkroom_api.accounts.permissions import EVERYTHING
from darkroom_api.accounts.sessions import Means
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code, token_invalid
from darkroom_api.http.parts import parts_of
from darkroom_api.settings import ApiSettings
from darkroom_common.clock import utc_now
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
_EXPORTS: Final = re.compile(r"/api/v1/(exports(/.*)?|studies/export)")
_MONITORING: Final = re.compile(r"/metrics/.*")
_ADMINISTRATOR: Final = (
    "SELECT u.id, u.username FROM api.app_user u JOIN api.user_role r ON r.user_id = u.id"
    " WHERE u.active AND r.role = 'system_admin' ORDER BY u.created_at LIMIT 1"
)


class Flags(BaseModel):
    """What is in use."""

    AUTHENTICATION_ENABLED: bool = Field(description="requests have to sign in")
    RBAC_ENABLED: bool = Field(description="permissions decide who may do what")
    AUDIT_LOGGING_ENABLED: bool = Field(description="what requests do is kept")
    EXPORT_ENABLED: bool = Field(description="studies can be exported; off: those routes are 404")
    MONITORING_ENABLED: bool = Field(description="metrics are shown")


async def list_flags(request: Request) -> Flags:
    """Tell which features are in use."""
    return flags_of(parts_of(request.scope).settings)


def flags_of(settings: ApiSettings) -> Flags:
    """Return the flags as the settings have them."""
    return Flags(
        AUTHENTICATION_ENABLED=settings.ff_auth_enabled,
        RBAC_ENABLED=settings.ff_rbac_enabled,
        AUDIT_LOGGING_ENABLED=settings.ff_audit_enabled,
        EXPORT_ENABLED=settings.ff_export_enabled,
        MONITORING_ENABLED=settings.ff_monitoring_enabled,
    )


def say_what_is_off(settings: ApiSettings) -> None:
    """Say at the start, in the colour of what is wrong, that this is no place for patients."""
    off = [name for name, on in flags_of(settings).model_dump().items() if not on]
    if settings.development:
        log.critical("development.open", off=off, advice="never with data of patients")
    elif off:
        log.warning("flags.off", off=off)


def require_in_use(path: str, settings: ApiSettings) -> None:
    """Refuse the routes of what is off.

    Raises:
        ApiError: 404.
    """
    off = (not settings.ff_export_enabled and _EXPORTS.fullmatch(path)) or (
        not settings.ff_monitoring_enabled and _MONITORING.fullmatch(path)
    )
    if off:
        raise ApiError(404, Code.NOT_FOUND, "There is nothing here.")


def with_rights(principal: Principal, settings: ApiSettings) -> Principal:
    """Return somebody with every permission while permissions are off."""
    if settings.ff_rbac_enabled:
        return principal
    return replace(principal, permissions=frozenset({EVERYTHING}))


@dataclass
class OpenDoor:
    """Lets everybody in as the first administrator while nobody has to sign in."""

    _known: Principal | None = None

    async def enter(self, scope: Scope) -> Principal:
        """Return the administrator with a session, which is begun once and when it was ended.

        Raises:
            ApiError: 401, there is none.
        """
        parts = parts_of(scope)
        known = self._known
        if known is not None:
            of = known.in_person
            row = await parts.accounts.of_session(
                user_id=known.user_id, session_id=of.session_id, jti=of.jti
            )
            if row is not None:
                return known
        async with parts.database.transaction() as db:
            user = await db.fetchrow(_ADMINISTRATOR)
            if user is None:
                raise token_invalid()
            means = Means("password", browser=False, address=address_of(scope), user_agent="")
            session_id, _ = await sessions.begin(db, user["id"], means)
        presence = Presence(session_id, uuid.uuid4(), utc_now() + timedelta(days=7))
        everything = frozenset({EVERYTHING})
        roles = ("system_admin",)
        self._known = Principal(user["id"], user["username"], roles, everything, presence)
        return self._known


def add(app: FastAPI) -> None:
    """Add the route."""
    app.add_api_route(
        "/api/v1/feature-flags", list_flags, tags=["operations"], responses=errors(401, 503)
    )
