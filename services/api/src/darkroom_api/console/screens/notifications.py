"""Notifications: what somebody should know of, and how much of it is new to them."""

import datetime as dt
from typing import Final

from fastapi import FastAPI
from starlette.responses import Response

from darkroom_api.console.notices import notices
from darkroom_api.console.page import Page
from darkroom_api.console.screen import screen
from darkroom_common.clock import utc_now

_SEEN: Final = "darkroom_seen"
_KEPT_SECONDS: Final = 365 * 86_400
_COUNT_SECONDS: Final = 30
_NEVER: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


async def show_notifications(page: Page) -> Response:
    """Show them, the newest first; what is shown is not new any more."""
    seen = _seen(page)
    answer = page.render("notifications.html", notices=await notices(page), seen=seen)
    answer.set_cookie(
        _SEEN,
        utc_now().isoformat(timespec="seconds"),
        max_age=_KEPT_SECONDS,
        httponly=True,
        samesite="lax",
        secure=page.request.url.scheme == "https",
    )
    return answer


async def show_count(page: Page) -> Response:
    """Show how many are new, for the menu; the browser keeps it for a moment."""
    seen = _seen(page)
    count = sum([one.at > seen for one in await notices(page)])
    answer = page.render("notification_count.html", count=count)
    answer.headers["cache-control"] = f"private, max-age={_COUNT_SECONDS}"
    answer.headers["vary"] = "Cookie"
    return answer


def _seen(page: Page) -> dt.datetime:
    """Return when this browser has shown them last."""
    try:
        at = dt.datetime.fromisoformat(page.request.cookies.get(_SEEN, ""))
    except ValueError:
        return _NEVER
    return at if at.tzinfo else _NEVER


def add(app: FastAPI) -> None:
    """Add the routes."""
    screen(app, "/notifications", show_notifications)
    screen(app, "/notifications/count", show_count)
