"""Senders: who may open an association with this node, and add one."""

from typing import Any, Final
from urllib.parse import quote

from fastapi import FastAPI
from starlette.responses import Response

from darkroom_api.console.page import Page, one_of
from darkroom_api.console.screen import screen

_SENDERS: Final = "/api/v1/senders"


async def show_senders(page: Page) -> Response:
    """Show who may send."""
    found = await page.rest.get(_SENDERS, page=page.asked.get("page"), page_size=50)
    return page.render("sender_rows.html" if page.is_part else "senders.html", found=found)


async def add_sender(page: Page) -> Response:
    """Let another AE send, from anywhere or from one address or network."""
    form = await page.form()
    network = form.get("network", [""])[0].strip()
    body: dict[str, Any] = {
        "name": one_of(form, "name"),
        "host_rule": "listed" if network else "any",
        "hosts": [{"network": network}] if network else [],
        "query_rule": one_of(form, "query_rule"),
        "retrieve_rule": one_of(form, "retrieve_rule"),
    }
    await page.rest.post(_SENDERS, body)
    return page.done("It may send now.")


async def remove_sender(page: Page) -> Response:
    """Accept nothing more of a sender."""
    name = one_of(await page.form(), "name")
    await page.rest.ask("DELETE", f"{_SENDERS}/{quote(name, safe='')}")
    return page.done("Nothing more of it is accepted.")


def add(app: FastAPI) -> None:
    """Add the routes."""
    screen(app, "/senders", show_senders)
    screen(app, "/senders", add_sender, "POST")
    screen(app, "/senders/remove", remove_sender, "POST")
