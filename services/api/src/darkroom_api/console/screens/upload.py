"""Upload by drag and drop: the script stores each object by STOW-RS."""

from fastapi import FastAPI
from starlette.responses import Response

from darkroom_api.console.page import Page
from darkroom_api.console.screen import screen


async def show_upload(page: Page) -> Response:
    """Show where files are dropped."""
    return page.render("upload.html")


def add(app: FastAPI) -> None:
    """Add the route."""
    screen(app, "/upload", show_upload)
