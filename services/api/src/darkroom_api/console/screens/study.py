"""One study: what it holds, what became of it, and what can be done with it."""

from typing import Any, Final
from urllib.parse import quote

from fastapi import FastAPI
from pydicom.datadict import dictionary_description, dictionary_has_tag
from starlette.responses import Response

from darkroom_api.console.attributes import said, value
from darkroom_api.console.page import Page, one_of
from darkroom_api.console.screen import screen
from darkroom_api.http.errors import ApiError
from darkroom_common.clock import utc_now

_MOST_INSTANCES: Final = 500
_CHANGED: Final = 412
_EVER: Final = "9999-12-31"
_EDITED: Final = (
    *("patient_name", "patient_id", "patient_birth_date", "patient_sex", "accession_number"),
    *("study_date", "description", "exam_status", "physician_name"),
)
_LONGEST: Final = 200
"""Characters of a value that are shown."""


def address(study: str) -> str:
    """Return the path of a study in REST."""
    return f"/api/v1/studies/{quote(study, safe='')}"


async def show_study(page: Page) -> Response:
    """Show a study."""
    answer = await page.rest.ask("GET", address(page.at("study")))
    found = answer.json()
    destinations = []
    if page.may("transmit:send") and page.may("destinations:read"):
        listed = await page.rest.get("/api/v1/destinations", page_size=200)
        destinations = [one["name"] for one in listed["data"]]
    return page.render(
        "study.html",
        study=found,
        uid=found["study_instance_uid"],
        etag=answer.headers.get("etag", ""),
        destinations=destinations,
    )


async def show_series(page: Page) -> Response:
    """Show the instances of a series, as a part of the page of its study."""
    path = f"/dicom-web/studies/{page.at('study')}/series/{page.at('series')}"
    found = await page.rest.get(f"{path}/instances", limit=_MOST_INSTANCES)
    rows = [
        {
            "uid": value(one, "SOPInstanceUID"),
            "number": value(one, "InstanceNumber"),
            "frames": value(one, "NumberOfFrames"),
        }
        for one in found or ()
    ]
    return page.render("study_series.html", path=path, rows=rows, most=_MOST_INSTANCES)


async def show_instance(page: Page) -> Response:
    """Show the attributes of an instance, as its header has them."""
    names = {name: page.at(name) for name in ("study", "series", "instance")}
    path = "/dicom-web/studies/{study}/series/{series}/instances/{instance}".format(**names)
    header = (await page.rest.get(f"{path}/metadata"))[0]
    return page.render("instance.html", names=names, path=path, lines=list(_lines(header, 0)))


def _lines(header: dict[str, Any], depth: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for tag, one in sorted(header.items()):
        values = one.get("Value", [])
        is_sequence = one.get("vr") == "SQ"
        number = int(tag, 16)
        text = f"{len(values)} items" if is_sequence else "\\".join(map(said, values))
        if "BulkDataURI" in one:
            text = "(apart from the header)"
        found.append(
            {
                "depth": depth,
                "tag": f"({tag[:4]},{tag[4:]})",
                "vr": one.get("vr", ""),
                "name": dictionary_description(number) if dictionary_has_tag(number) else "",
                "text": text[:_LONGEST],
            }
        )
        if is_sequence:
            for item in values:
                found += _lines(item, depth + 1)
    return found


async def edit(page: Page) -> Response:
    """Change what is said of a study, if nobody else has meanwhile."""
    form, path = await page.form(), address(page.at("study"))
    body: dict[str, Any] = {}
    for name in _EDITED:
        new, old = form.get(name, [None])[0], form.get(f"was_{name}", [""])[0]
        if new is not None and new != old:
            body[name] = new
    if not body:
        return page.done("Nothing was changed.")
    if form.get("reason", [""])[0]:
        body["reason"] = form["reason"][0]
    try:
        await page.rest.ask("PATCH", path, body=body, more={"if-match": one_of(form, "etag")})
    except ApiError as fault:
        if fault.status != _CHANGED:
            raise
        history = (await page.rest.get(path))["history"]
        if history:
            last = history[0]
            what = last["field"].replace("_", " ")
            fault.detail = f"{last['by']} has changed the {what} meanwhile. Load the page again."
        raise
    return page.go(f"/study/{page.at('study')}")


async def show_retention(page: Page) -> Response:
    """Show what retention says of a study, as a part of the question whether to delete it."""
    asked = {"study_instance_uid": page.at("study"), "page_size": 1}
    plan = await page.rest.get("/api/v1/retention/plan", on=_EVER, **asked)
    holds = await page.rest.get("/api/v1/legal-holds", **asked)
    found = next(iter(plan["data"]), None)
    held = bool(holds["data"]) or (found is not None and found["held"])
    today = utc_now().date().isoformat()
    return page.render("study_retention.html", found=found, held=held, today=today)


async def delete(page: Page) -> Response:
    """Delete a study, unless retention or a hold forbids it."""
    reason = one_of(await page.form(), "reason")
    await page.rest.ask("DELETE", address(page.at("study")), body={"reason": reason})
    return page.go("/worklist")


def add(app: FastAPI) -> None:
    """Add the routes."""
    screen(app, "/study/{study}", show_study)
    screen(app, "/study/{study}/series/{series}", show_series)
    screen(app, "/study/{study}/series/{series}/instances/{instance}", show_instance)
    screen(app, "/study/{study}/edit", edit, "POST")
    screen(app, "/study/{study}/delete", delete, "POST")
    screen(app, "/study/{study}/retention", show_retention)
