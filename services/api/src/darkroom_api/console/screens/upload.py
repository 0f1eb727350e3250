"""Upload by drag and drop: the script stores objects, and has pictures and PDFs become some."""

from typing import Any, Final

from fastapi import FastAPI
from starlette.responses import Response

from darkroom_api.console.page import Page
from darkroom_api.console.screen import screen
from darkroom_api.console.screens.study import address

_WORKLIST: Final = "/api/v1/worklist"
_MOST: Final = 8
_LOOKED_AT: Final = 200
"""Entries of the worklist, of those that come next."""
_SEARCHED: Final = ("patient_name", "patient_id", "accession_number")


async def show_upload(page: Page) -> Response:
    """Show where files are dropped; a study or an entry of the worklist may be chosen already."""
    study, entry = page.asked.get("study", ""), page.asked.get("entry", "")
    studies = [await page.rest.get(address(study))] if study else []
    entries = [await page.rest.get(f"{_WORKLIST}/{entry}")] if entry.isalnum() else []
    return page.render(
        "upload.html", studies=studies, entries=entries, chosen=study or entry, asked=""
    )


async def find(page: Page) -> Response:
    """Show whose pictures may be: studies, and what is scheduled."""
    words = page.asked.get("q", "").strip()
    studies: list[dict[str, Any]] = []
    if words:
        found = await page.rest.get("/api/v1/studies/search", q=words, page_size=_MOST)
        studies = found["data"]
    return page.render(
        "upload_whose.html",
        studies=studies,
        entries=await _scheduled(page, words),
        chosen="",
        asked=words,
    )


async def _scheduled(page: Page, words: str) -> list[dict[str, Any]]:
    if not words or not page.may("mpps:read"):
        return []
    listed = await page.rest.get(_WORKLIST, sort="-scheduled_at", page_size=_LOOKED_AT)
    wanted = words.casefold().split()
    found = [
        one
        for one in listed["data"]
        if one["state"] not in ("CANCELLED", "DISCONTINUED")
        and all(
            any(word in one[name].casefold().replace("^", " ") for name in _SEARCHED)
            for word in wanted
        )
    ]
    return found[:_MOST]


def add(app: FastAPI) -> None:
    """Add the routes."""
    screen(app, "/upload", show_upload)
    screen(app, "/upload/whose", find)
