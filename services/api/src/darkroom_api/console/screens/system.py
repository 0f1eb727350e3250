"""System: whether all is well, the licence, settings with their source, conformance."""

from typing import Any, Final

from fastapi import FastAPI
from starlette.responses import Response

from darkroom_api.console.page import Page
from darkroom_api.console.rest import Refused
from darkroom_api.console.screen import screen

_SERVICES: Final = ("api", "ingest", "metadata", "transmit", "print", "licensing")
_SETTINGS: Final = "/api/v1/settings"


async def show_system(page: Page) -> Response:
    """Show health, licence and feature flags."""
    data: dict[str, Any] = {"health": await _health(page)}
    data["licence"] = await page.rest.get("/api/v1/licence")
    data["flags"] = await page.rest.get("/api/v1/feature-flags")
    part = "system_parts.html" if page.is_part else "system.html"
    return page.render(part, **data)


async def _health(page: Page) -> dict[str, Any] | None:
    """Return what this replica says of itself; None when it is not well enough to say it."""
    try:
        found: dict[str, Any] = await page.rest.get("/api/v1/health")
    except Refused:
        return None
    return found


async def show_queues(page: Page) -> Response:
    """Show queues, storage, database and certificates."""
    found = await page.rest.get("/api/v1/system")
    return page.render("queue_parts.html" if page.is_part else "queues.html", found=found)


async def show_settings(page: Page) -> Response:
    """Show the settings of the services as they are in force."""
    service = page.asked.get("service", "")
    found = await page.rest.get(_SETTINGS, service=service, page=page.asked.get("page"))
    data = {"found": found, "asked": {"service": service}, "services": _SERVICES}
    return page.render("settings_rows.html" if page.is_part else "settings.html", **data)


async def show_conformance(page: Page) -> Response:
    """Show the conformance statement of what runs, with its files."""
    found = await page.rest.get("/api/v1/system/conformance")
    return page.render("conformance.html", found=found)


def add(app: FastAPI) -> None:
    """Add the routes."""
    screen(app, "/system", show_system)
    screen(app, "/system/queues", show_queues)
    screen(app, "/system/settings", show_settings)
    screen(app, "/system/conformance", show_conformance)
