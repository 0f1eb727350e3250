"""Replication: what a second store and another site lack, and what was not done here."""

from typing import Final

from fastapi import FastAPI
from starlette.responses import Response

from darkroom_api.console.page import Page
from darkroom_api.console.screen import screen

_PAGE: Final = "/system/replication"
_SHOWN: Final = 20


async def show_replication(page: Page) -> Response:
    """Show the lag both ways, repairs, and what was outvoted or refused."""
    found = await page.rest.get("/api/v1/replication")
    if page.is_part and page.asked.get("page") is None:
        return page.render("replication_lag.html", found=found)
    outcomes = await page.rest.get(
        "/api/v1/replication/outcomes", page=page.asked.get("page"), page_size=_SHOWN
    )
    if page.is_part:
        return page.render("replication_rows.html", outcomes=outcomes, asked={})
    repaired = await page.rest.get(
        "/api/v1/verification/findings", state="repaired", page_size=_SHOWN
    )
    return page.render(
        "replication.html", found=found, outcomes=outcomes, repaired=repaired, asked={}
    )


def add(app: FastAPI) -> None:
    """Add the routes."""
    screen(app, _PAGE, show_replication)
