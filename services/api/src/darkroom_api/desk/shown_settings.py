"""The settings of the services as they are in force, without what is secret."""

from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import FastAPI, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.http.documented import errors
from darkroom_api.http.lists import LINKED, Listed, ListQuery, cursor_keys, cursor_of, set_headers
from darkroom_api.http.parts import parts_of
from darkroom_common.settings_in_force import shown

ServiceName = Literal["api", "ingest", "licensing", "metadata", "print", "transmit"]
_OWN: Final = "api"
_OTHERS: Final = (  # service_setting_pkey
    "SELECT service, name, value, is_default, description FROM api.service_setting"
    " WHERE service <> $1 ORDER BY service, name"
)


class Setting(BaseModel):
    """A setting of a service."""

    service: str
    name: str = Field(description="of the environment variable")
    value: Any = Field(description="`(hidden)` for a secret that is set; null for what is not set")
    is_default: bool
    description: str


class SettingsQuery(ListQuery):
    """Which page."""

    page_size: int = Field(default=200, ge=1, le=200)
    sort: Literal["name"] = Field(default="name", description="of each service, by its name")
    service: ServiceName | None = Field(default=None, description="of this one alone")


async def list_settings(
    request: Request, response: Response, asked: Annotated[SettingsQuery, Query()]
) -> Listed[Setting]:
    """List the settings of every service that has started, without what is secret."""
    parts = parts_of(request.scope)
    own = [Setting(service=_OWN, **one.model_dump()) for one in shown(parts.settings)]
    async with parts.database.acquire() as db:
        rows = await db.fetch(_OTHERS, _OWN)
    others = [Setting(**{**row, "value": orjson.loads(row["value"])}) for row in rows]
    every = sorted(
        (one for one in own + others if asked.service in (None, one.service)), key=_place_of
    )
    rest = every[asked.offset :]
    if asked.cursor is not None:
        last = cursor_keys(asked.cursor, asked.sort, [str, str])
        rest = [one for one in every if _place_of(one) > last]
    page = rest[: asked.page_size]
    more = len(rest) > len(page)
    following = cursor_of(asked.sort, _place_of(page[-1])) if more else None
    set_headers(request, response, asked, len(every), following)
    return Listed(data=page, total=len(every), page=asked.page, page_size=asked.page_size)


def _place_of(one: Setting) -> tuple[str, str]:
    return one.service, one.name


def add(app: FastAPI) -> None:
    """Add the route."""
    app.add_api_route(
        "/api/v1/settings",
        list_settings,
        tags=["operations"],
        responses={**LINKED, **errors(401, 403, 422, 503)},
    )
