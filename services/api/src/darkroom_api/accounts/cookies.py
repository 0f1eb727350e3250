"""Tokens of browsers: in cookies that no script reads and no other site sends along.

`__Host-` is in their names where they go by HTTPS alone: no neighbouring host can set them. The
third one is for scripts: they send it as `X-CSRFToken` with whatever changes something.
"""

from dataclasses import dataclass
from typing import Final, Literal

from starlette.requests import HTTPConnection
from starlette.responses import Response

from darkroom_api.accounts.sessions import REFRESH_LIFETIME
from darkroom_api.accounts.tokens import ACCESS_LIFETIME
from darkroom_api.http.parts import parts_of

ACCESS: Final = "darkroom_access"
REFRESH: Final = "darkroom_refresh"
CSRF: Final = "darkroom_csrf"
HOST: Final = "__Host-"
_LIFETIMES: Final = {ACCESS: ACCESS_LIFETIME, REFRESH: REFRESH_LIFETIME, CSRF: REFRESH_LIFETIME}


def is_secure(connection: HTTPConnection) -> bool:
    """Tell whether a browser reaches us by HTTPS, as far as we are told."""
    public = parts_of(connection.scope).settings.public_url or ""
    return public.startswith("https:") or connection.scope["scheme"] == "https"


def cookie_of(connection: HTTPConnection, name: str) -> str:
    """Return what a request has in a cookie of ours; empty without."""
    prefix = HOST if is_secure(connection) else ""
    return connection.cookies.get(prefix + name, "")


@dataclass(frozen=True)
class Cookie:
    """A cookie that is sent to us alone.

    Attributes:
        name: without what is put before it.
        value: what it says; empty: it is to be forgotten.
        seconds: how long it is kept.
        samesite: `lax` for what has to come back from another site.
    """

    name: str
    value: str
    seconds: int
    samesite: Literal["strict", "lax"] = "strict"

    def put(self, connection: HTTPConnection, response: Response) -> None:
        """Set it."""
        secure = is_secure(connection)
        response.set_cookie(
            (HOST if secure else "") + self.name,
            self.value,
            max_age=self.seconds if self.value else 0,
            path="/",
            secure=secure,
            httponly=self.name != CSRF,
            samesite=self.samesite,
        )


def put_session(
    connection: HTTPConnection, response: Response, *, access: str, refresh: str, csrf: str
) -> None:
    """Set the three cookies of a session."""
    for name, value in ((ACCESS, access), (REFRESH, refresh), (CSRF, csrf)):
        seconds = int(_LIFETIMES[name].total_seconds())
        Cookie(name, value, seconds).put(connection, response)


def drop_session(connection: HTTPConnection, response: Response) -> None:
    """Have a browser forget its session."""
    put_session(connection, response, access="", refresh="", csrf="")
