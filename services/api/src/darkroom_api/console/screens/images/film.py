"""Films: lay images out, look at the bitmap, print; and the printers."""

from typing import Any, Final

from fastapi import FastAPI
from starlette.responses import Response

from darkroom_api.console.attributes import value
from darkroom_api.console.changing import change, path_of, switch
from darkroom_api.console.page import Page, one_of
from darkroom_api.console.screen import screen
from darkroom_api.http.errors import ApiError, Code
from darkroom_common.films.profiles import profiles
from darkroom_common.resources.declared import PRINTERS

_JOBS: Final = "/api/v1/print/jobs"
_DONE: Final = {
    "retry": "It is printed again.",
    "cancel": "It is cancelled.",
    "confirm": "The film is there; the job goes on.",
    "reprint": "The films are printed once more.",
}
_MOST_IMAGES: Final = 200
_NEEDED: Final = ("host", "port", "ae_title", "profile")


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
    sizes = {one["name"]: _sizes(one) for one in printers}
    return page.render("film.html", study=study, printers=printers, images=images, sizes=sizes)


def _sizes(printer: dict[str, Any]) -> tuple[str, ...]:
    """Return the Film Size IDs that a printer takes."""
    kind = profiles().get(printer["profile"])
    return tuple(printer["film_sizes"] or ()) or (kind.film_sizes if kind else ())


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


async def show_printers(page: Page) -> Response:
    """Show printers and how they are."""
    found = await page.rest.get(PRINTERS.path, page=page.asked.get("page"), page_size=50)
    part = "printer_rows.html" if page.is_part else "printers.html"
    kinds = {name: one.description for name, one in profiles().items()}
    return page.render(part, found=found, kinds=kinds)


async def add_printer(page: Page) -> Response:
    """Add a printer."""
    form = await page.form()
    await page.rest.post(PRINTERS.path, {"name": one_of(form, "name"), **_spec(form)})
    return page.done("The printer is there. Ask it how it is before films are sent to it.")


async def edit_printer(page: Page) -> Response:
    """Change what the form has of a printer."""
    form = await page.form()
    await change(page, PRINTERS, form, _spec(form))
    return page.done("The printer is changed.")


async def hold_or_go(page: Page) -> Response:
    """Print nothing more on a printer for now, or let its films go on."""
    if await switch(page, PRINTERS):
        return page.done("Its films are printed again.")
    return page.done("Its films wait until it is released.")


async def ask(page: Page) -> Response:
    """Ask a printer now how it is."""
    said = await page.rest.post(path_of(PRINTERS, page.at("name")) + "/status")
    return page.done(f"{page.at('name')}: {said['meaning'] or said['reason']}")


async def remove_printer(page: Page) -> Response:
    """Remove a printer that nothing needs any more."""
    await page.rest.ask("DELETE", path_of(PRINTERS, page.at("name")))
    return page.done("The printer is removed.")


def _spec(form: dict[str, list[str]]) -> dict[str, Any]:
    spec: dict[str, Any] = {name: one_of(form, name) for name in _NEEDED}
    if form.get("calling_ae_title", [""])[0].strip():
        spec["calling_ae_title"] = form["calling_ae_title"][0].strip()
    return spec


def add(app: FastAPI) -> None:
    """Add the routes."""
    screen(app, "/film", show_film)
    screen(app, "/film/queue", show_queue)
    screen(app, "/film/jobs/{job}/{act}", act, "POST")
    base = "/film/printers"
    screen(app, base, show_printers)
    screen(app, base, add_printer, "POST")
    for name, does in (("ask", ask), ("switch", hold_or_go), ("remove", remove_printer)):
        screen(app, f"{base}/{{name}}/{name}", does, "POST")
    screen(app, f"{base}/{{name}}", edit_printer, "POST")
