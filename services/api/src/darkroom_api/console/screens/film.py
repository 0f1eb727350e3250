"""Films: lay images out, look at the bitmap, print; and what printers make of it."""

from typing import Final

from fastapi import FastAPI
from starlette.responses import Response

from darkroom_api.console.attributes import value
from darkroom_api.console.page import Page
from darkroom_api.console.screen import screen
from darkroom_api.http.errors import ApiError, Code

_JOBS: Final = "/api/v1/print/jobs"
_DONE: Final = {
    "retry": "It is printed again.",
    "cancel": "It is cancelled.",
    "confirm": "The film is there; the job goes on.",
    "reprint": "The films are printed once more.",
}
_MOST_IMAGES: Final = 200
_DEFAULT_SIZES: Final = ("14INX17IN", "14INX14IN", "11INX14IN", "10INX12IN", "8INX10IN")


async def show_film(page: Page) -> Response:
    """Show the images of a study or series beside an empty film; the script asks REST for it."""
    study, series = page.asked.get("study", ""), page.asked.get("series", "")
    printers = (await page.rest.get("/api/v1/printers", page_size=200))["data"]
    images = []
    if study:
        path = f"/dicom-web/studies/{study}" + (f"/series/{series}" if series else "")
        found = await page.rest.get(f"{path}/instances", limit=_MOST_IMAGES) or []
        images = [
            {
                "study": value(one, "StudyInstanceUID"),
                "series": value(one, "SeriesInstanceUID"),
                "uid": value(one, "SOPInstanceUID"),
                "number": value(one, "InstanceNumber"),
            }
            for one in found
            if value(one, "Rows")
        ]
    return page.render(
        "film.html", study=study, printers=printers, images=images, sizes=_DEFAULT_SIZES
    )


async def show_queue(page: Page) -> Response:
    """Show the print jobs; the films of one that is UNKNOWN are asked about."""
    found = await page.rest.get(_JOBS, page=page.asked.get("page"))
    name = "film_rows.html" if page.is_part else "film_queue.html"
    printers = (await page.rest.get("/api/v1/printers", page_size=200))["data"]
    return page.render(name, found=found, printers=printers, asked={})


async def act(page: Page) -> Response:
    """Try a job again, cancel it, or say that an unknown film came out."""
    if page.at("act") not in _DONE:
        raise ApiError(404, Code.NOT_FOUND, "There is nothing here.")
    await page.rest.post(f"{_JOBS}/{page.at('job')}/{page.at('act')}")
    return page.done(_DONE[page.at("act")])


def add(app: FastAPI) -> None:
    """Add the routes."""
    screen(app, "/film", show_film)
    screen(app, "/film/queue", show_queue)
    screen(app, "/film/jobs/{job}/{act}", act, "POST")
