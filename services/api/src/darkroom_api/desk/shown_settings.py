"""The settings of the api as they are in force, without what is secret."""

import re
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field, SecretBytes, SecretStr
from pydantic_core import to_jsonable_python
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.http.documented import errors
from darkroom_api.http.lists import Listed, ListQuery, set_headers
from darkroom_api.http.parts import parts_of
from darkroom_common.settings import PREFIX, SettingsBase

HIDDEN: Final = "(hidden)"
_SECRET: Final = re.compile(r"(secret|password|token|keys?|credential)s?$")


class Setting(BaseModel):
    """A setting of the api."""

    name: str = Field(description="of the environment variable")
    value: Any = Field(description="`(hidden)` for a secret that is set; null for what is not set")
    is_default: bool
    description: str


class SettingsQuery(ListQuery):
    """Which page."""

    page_size: int = Field(default=200, ge=1, le=200)
    sort: Literal["name"] = "name"


async def list_settings(
    request: Request, response: Response, asked: Annotated[SettingsQuery, Query()]
) -> Listed[Setting]:
    """List the settings of the api, without what is secret."""
    every = shown(parts_of(request.scope).settings)
    set_headers(request, response, asked, len(every), None)
    page = every[asked.offset : asked.offset + asked.page_size]
    return Listed(data=page, total=len(every), page=asked.page, page_size=asked.page_size)


def shown(settings: SettingsBase) -> list[Setting]:
    """Return every setting, by name."""
    fields = type(settings).model_fields
    return [
        Setting(
            name=f"{PREFIX}{name.upper()}",
            value=_shown(name, getattr(settings, name)),
            is_default=name not in settings.model_fields_set,
            description=fields[name].description or "",
        )
        for name in sorted(fields)
    ]


def _shown(name: str, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, SecretStr | SecretBytes) or _SECRET.search(name):
        return HIDDEN
    plain = to_jsonable_python(value)
    return _without_credentials(plain)


def _without_credentials(value: Any) -> Any:
    """Return a value whose URLs name no user and have no query: both may hold what is secret."""
    if isinstance(value, dict):
        return {name: _without_credentials(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_credentials(one) for one in value]
    if not isinstance(value, str) or "://" not in value:
        return value
    try:
        parts = urlsplit(value)
    except ValueError:
        return HIDDEN
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()


def add(app: FastAPI) -> None:
    """Add the route."""
    app.add_api_route(
        "/api/v1/settings", list_settings, tags=["operations"], responses=errors(401, 403, 422, 503)
    )
