"""The first-run guide: what a new house needs, what of it is there, and where to do the rest."""

from typing import Any, Final

from fastapi import FastAPI
from starlette.responses import Response

from darkroom_api.console.page import Page
from darkroom_api.console.screen import screen

_STEPS: Final = (
    (
        "/account",
        "",
        "Set a password of your own",
        "The first one stands in a file of the machine.",
        "Change the password",
    ),
    (
        "/senders",
        "/api/v1/senders",
        "Name who sends images",
        "Once one sender is named, all others are refused.",
        "Add a sender",
    ),
    (
        "/transmission/destinations",
        "/api/v1/destinations",
        "Name where images go",
        "A PACS or another archive, which can be asked for priors as well.",
        "Add a destination",
    ),
    (
        "/film/printers",
        "/api/v1/printers",
        "Name a printer",
        "A film printer that speaks DICOM.",
        "Add a printer",
    ),
    (
        "/upload",
        "/api/v1/studies/search",
        "Have a first study here",
        "Send one from a modality, or drop its files.",
        "Upload",
    ),
)
"""Page, the list in REST that has something once it is done, title, why, and what the link says."""


async def show_start(page: Page) -> Response:
    """Show the steps that one may do, and what was found on the machine."""
    steps = []
    for path, listed, title, why, act in _STEPS:
        if not page.may_open(path) or (listed and not page.may_open(listed)):
            continue
        count = (await page.rest.get(listed, page_size=1))["total"] if listed else None
        steps.append({"path": path, "title": title, "why": why, "act": act, "count": count})
    machine: list[dict[str, Any]] | None = None
    if page.may("settings:read"):
        machine = (await page.rest.get("/api/v1/system"))["machine"]
    return page.render("start.html", steps=steps, machine=machine)


def add(app: FastAPI) -> None:
    """Add the route."""
    screen(app, "/start", show_start)
