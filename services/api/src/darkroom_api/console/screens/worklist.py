"""The worklist of studies: find, narrow, and do something with many at once."""

from typing import Any, Final

from fastapi import FastAPI
from starlette.responses import Response

from darkroom_api.console.page import Page, one_of, some_of
from darkroom_api.console.rest import Refused
from darkroom_api.console.screen import screen

_FILTERS: Final = (
    *("q", "exam_status", "status", "modality", "exam_source", "physician"),
    *("start_date", "end_date"),
)
_EXAM: Final = "exam"


async def show_worklist(page: Page) -> Response:
    """Show a page of studies; htmx asks for the list alone."""
    asked = {name: page.asked.get(name, "") for name in _FILTERS}
    found = await page.rest.get("/api/v1/studies/search", **asked, page=page.asked.get("page"))
    data: dict[str, Any] = {"found": found, "asked": asked}
    if page.is_part:
        return page.render("worklist_rows.html", **data)
    data["filters"] = await page.rest.get("/api/v1/studies/filters")
    for name in ("destinations", "printers"):
        data[name] = []
        if page.may(f"{name}:read"):
            listed = await page.rest.get(f"/api/v1/{name}", page_size=200)
            data[name] = [one["name"] for one in listed["data"]]
    return page.render("worklist.html", **data)


async def send(page: Page) -> Response:
    """Send the selected studies: a job for each."""
    form = await page.form()
    destination = one_of(form, "destination")
    told = await _each(page, form, "/api/v1/transmit/jobs", {"destination": destination})
    return page.done(told.format(destination))


async def print_films(page: Page) -> Response:
    """Print the selected studies: a job for each, with all of its images."""
    form = await page.form()
    order = {name: one_of(form, name) for name in ("printer", "layout")}
    told = await _each(page, form, "/api/v1/print/jobs", order)
    return page.done(told.format(order["printer"]))


async def _each(page: Page, form: dict[str, list[str]], path: str, order: dict[str, str]) -> str:
    """Have a job made of each selected study; return what is said of it, but for where they go.

    Raises:
        Refused: none of them could be.
    """
    studies, refusals = some_of(form, "study"), list[Refused]()
    for study in studies:
        try:
            await page.rest.post(path, {**order, "study_instance_uid": study})
        except Refused as fault:
            refusals.append(fault)
    if len(refusals) == len(studies):
        raise refusals[0]
    sentence = f"{_many(len(studies) - len(refusals))} on the way to {{}}."
    if refusals:
        said = refusals[0].detail.replace("{", "{{").replace("}", "}}")
        sentence += f" {_many(len(refusals))} could not be: {said}"
    return sentence


async def set_status(page: Page) -> Response:
    """Give the selected studies a work status."""
    form = await page.form()
    body = {"exam_ids": some_of(form, _EXAM), "new_status": one_of(form, "new_status")}
    said = await page.rest.post("/api/v1/studies/bulk/update-status", body)
    return _told(page, said, "updated")


async def assign(page: Page) -> Response:
    """Assign the selected studies to a physician."""
    form = await page.form()
    body = {
        "exam_ids": some_of(form, _EXAM),
        "physician_name": one_of(form, "physician_name"),
        "notify": "notify" in form,
    }
    said = await page.rest.post("/api/v1/studies/bulk/assign-physician", body)
    return _told(page, said, "assigned")


async def export(page: Page) -> Response:
    """Have the list, as it is narrowed, made into a file."""
    form = await page.form()
    filters = {name: form[name][0] for name in _FILTERS if form.get(name, [""])[0]}
    said = await page.rest.post(
        "/api/v1/studies/export", {"format": one_of(form, "format"), "filters": filters}
    )
    return page.done(said["message"])


def _told(page: Page, said: dict[str, Any], name: str) -> Response:
    if "job_id" in said:
        return page.done("It is done as a job, since they are many.")
    sentence = f"{_many(said[name])} changed."
    if said["failed"]:
        sentence += f" {said['failed']} could not be: {said['errors'][0]['message']}"
    return page.done(sentence)


def _many(count: int) -> str:
    return "1 study" if count == 1 else f"{count} studies"


def add(app: FastAPI) -> None:
    """Add the routes."""
    screen(app, "/worklist", show_worklist)
    screen(app, "/worklist/send", send, "POST")
    screen(app, "/worklist/print", print_films, "POST")
    screen(app, "/worklist/status", set_status, "POST")
    screen(app, "/worklist/assign", assign, "POST")
    screen(app, "/worklist/export", export, "POST")
