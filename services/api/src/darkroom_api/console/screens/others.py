"""Other systems: what they have, what is fetched from them, what is scheduled and performed."""

from typing import Any, Final

from fastapi import FastAPI
from starlette.responses import Response

from darkroom_api.console.attributes import said, texts, value
from darkroom_api.console.page import Page, one_of
from darkroom_api.console.screen import screen
from darkroom_api.console.screens.study import address
from darkroom_api.console.whose import studies_of, whose
from darkroom_api.http.errors import ApiError, Code

_BASE: Final = "/others"
_RETRIEVES: Final = "/api/v1/retrieve/jobs"
_STEPS: Final = "/api/v1/mpps"
_KEYS: Final = ("PatientName", "PatientID", "AccessionNumber", "ModalitiesInStudy")
_STATES: Final = ("PENDING", "RETRIEVING", "RETRYING", "DONE", "FAILED", "CANCELLED")
_DONE: Final = {"retry": "It is fetched again.", "cancel": "No more of it is fetched."}
_MOST: Final = 200
_MIGRATIONS: Final = "/api/v1/migrations"
_MIGRATED: Final = {
    "pause": "It rests.",
    "resume": "It goes on.",
    "cancel": "Nothing more of it comes.",
    "retry": "What has not come is tried once more.",
}
_WAYS: Final = (
    ("get", "C-FIND and C-GET"),
    ("move", "C-FIND and C-MOVE"),
    ("web", "DICOMweb"),
    ("directory", "Files below MIGRATION_DIRECTORY"),
    ("dicomdir", "A medium with a DICOMDIR"),
)
_FILES: Final = ("directory", "dicomdir")


async def _remotes(page: Page) -> list[str]:
    """Return the destinations that can be asked by C-FIND, as far as one may see them."""
    if not page.may("destinations:read"):
        return []
    listed = await page.rest.get("/api/v1/destinations", page_size=_MOST)
    return [one["name"] for one in listed["data"] if one["kind"] == "dimse"]


async def show_find(page: Page) -> Response:
    """Show the form of a query; for the patient of a study it is filled in and asks at once."""
    study, keys = page.asked.get("study", ""), dict.fromkeys(_KEYS, "")
    if study:
        known = await page.rest.get(address(study))
        keys |= {"PatientID": known["patient_id"] or "", "PatientName": ""}
    remotes = await _remotes(page)
    return page.render("others.html", remotes=remotes, keys=keys, study=study)


async def find(page: Page) -> Response:
    """Ask another system for studies: with the names in the body, not in an address."""
    form = await page.form()
    keys = {name: form[name][0].strip() for name in _KEYS if form.get(name, [""])[0].strip()}
    if name := keys.get("PatientName"):
        keys["PatientName"] = name if set(name) & set("*?^") else f"{name}*"
    days = [form.get(name, [""])[0].replace("-", "") for name in ("from", "to")]
    if any(days):
        keys["StudyDate"] = "-".join(days)
    if not keys:
        raise ApiError(422, Code.INVALID_REQUEST, "Say a name, an ID, a number or a date.")
    remote = one_of(form, "remote")
    body = {"keys": keys, "include": ["NumberOfStudyRelatedInstances"], "limit": _MOST}
    found = await page.rest.post(f"/api/v1/remote/{remote}/query", body)
    rows = [
        {
            "uid": value(one, "StudyInstanceUID"),
            "name": said(value(one, "PatientName")),
            "id": value(one, "PatientID"),
            "born": value(one, "PatientBirthDate"),
            "date": value(one, "StudyDate"),
            "description": value(one, "StudyDescription"),
            "modalities": texts(one, "ModalitiesInStudy"),
            "accession": value(one, "AccessionNumber"),
            "images": value(one, "NumberOfStudyRelatedInstances"),
        }
        for one in found or ()
    ]
    rows.sort(key=lambda one: str(one["date"]), reverse=True)
    here = {one["uid"] for one in rows if await _is_here(page, one["uid"])}
    study = form.get("study", [""])[0]
    return page.render(
        "others_found.html", rows=rows, remote=remote, here=here, study=study, most=_MOST
    )


async def _is_here(page: Page, study: str) -> bool:
    """Tell whether a study is stored here already."""
    if not page.may("studies:read"):
        return False
    found = await page.rest.get("/dicom-web/studies", StudyInstanceUID=study, limit=1)
    return bool(found)


async def fetch(page: Page) -> Response:
    """Have studies of another system fetched: a job for each."""
    form = await page.form()
    remote, studies = one_of(form, "remote"), form.get("study", [])
    method = form.get("method", ["move"])[0]
    for study in studies:
        order = {"study_instance_uid": study, "method": method}
        await page.rest.post(f"/api/v1/remote/{remote}/retrieve", order)
    many = "The study is" if len(studies) == 1 else f"{len(studies)} studies are"
    return page.done(f"{many} fetched from {remote}.")


async def show_retrieves(page: Page) -> Response:
    """Show what is fetched, with its progress."""
    asked = {"state": page.asked.get("state", "")}
    found = await page.rest.get(_RETRIEVES, **asked, page=page.asked.get("page"))
    part = "retrieve_rows.html" if page.is_part else "retrieves.html"
    names = await whose(page, studies_of(found))
    return page.render(part, found=found, asked=asked, states=_STATES, names=names)


async def act(page: Page) -> Response:
    """Fetch again, or no more."""
    if page.at("act") not in _DONE:
        raise ApiError(404, Code.NOT_FOUND, "There is nothing here.")
    await page.rest.post(f"{_RETRIEVES}/{page.at('job')}/{page.at('act')}")
    return page.done(_DONE[page.at("act")])


async def show_scheduled(page: Page) -> Response:
    """Show the form of a query of a modality worklist."""
    return page.render("scheduled.html", remotes=await _remotes(page))


async def find_scheduled(page: Page) -> Response:
    """Ask another system for scheduled procedure steps."""
    form = await page.form()
    given = {
        name: form[name][0].strip()
        for name in ("patient_name", "patient_id", "accession_number", "modality", "date")
        if form.get(name, [""])[0].strip()
    }
    body = {**given, "remote": one_of(form, "remote"), "limit": _MOST}
    found = await page.rest.post("/api/v1/worklist/query", body)
    rows = [_scheduled(one) for one in found or ()]
    rows.sort(key=lambda one: (str(one["date"]), str(one["time"])))
    return page.render("scheduled_found.html", rows=rows, most=_MOST)


def _scheduled(one: dict[str, Any]) -> dict[str, Any]:
    step = value(one, "ScheduledProcedureStepSequence") or {}
    return {
        "name": said(value(one, "PatientName")),
        "id": value(one, "PatientID"),
        "born": value(one, "PatientBirthDate"),
        "accession": value(one, "AccessionNumber"),
        "asked_for": value(one, "RequestedProcedureDescription"),
        "date": value(step, "ScheduledProcedureStepStartDate"),
        "time": value(step, "ScheduledProcedureStepStartTime"),
        "modality": value(step, "Modality"),
        "station": value(step, "ScheduledStationAETitle"),
        "what": value(step, "ScheduledProcedureStepDescription"),
    }


async def show_steps(page: Page) -> Response:
    """Show procedure steps that others were told of, the newest first."""
    found = await page.rest.get(_STEPS, page=page.asked.get("page"))
    return page.render("step_rows.html" if page.is_part else "steps.html", found=found)


async def show_migrations(page: Page) -> Response:
    """Show the migrations with their progress, the newest first."""
    found = await page.rest.get(_MIGRATIONS, page=page.asked.get("page"))
    part = "migration_rows.html" if page.is_part else "migrations.html"
    names: list[str] = []
    if page.may("destinations:write") and not page.is_part:
        listed = await page.rest.get("/api/v1/destinations", page_size=200)
        names = [one["name"] for one in listed["data"]]
    going = [one for one in found["data"] if one["state"] not in ("DONE", "FAILED", "CANCELLED")]
    return page.render(part, found=found, ways=_WAYS, names=names, going=going)


async def start_migration(page: Page) -> Response:
    """Begin one."""
    form = await page.form()
    given = {name: one for name, values in form.items() if (one := values[0].strip())}
    body: dict[str, Any] = {"way": given.get("way", "get")}
    if body["way"] in _FILES:
        body["directory"] = given.get("directory", ".")
    else:
        body["source"] = given.get("source")
    body |= {name: given[name] for name in ("date_from", "date_to") if name in given}
    if "bytes_per_second" in given:
        body["bytes_per_second"] = given["bytes_per_second"]
    if "begin" in given and "end" in given:
        body["windows"] = [{"start": given["begin"], "end": given["end"]}]
    await page.rest.post(_MIGRATIONS, body)
    return page.done("It has begun.")


async def act_on_migration(page: Page) -> Response:
    """Let one rest, go on or end, or try again what has not come."""
    word = page.at("act")
    if word not in _MIGRATED:
        raise ApiError(404, Code.NOT_FOUND, "There is nothing here.")
    await page.rest.post(f"{_MIGRATIONS}/{page.at('job')}/{word}")
    return page.done(_MIGRATED[word])


async def bring_first(page: Page) -> Response:
    """Have a study, or those of a patient, come before all else."""
    form = await page.form()
    study, patient = (form.get(name, [""])[0].strip() for name in ("study", "patient_id"))
    body = {"studies": [study]} if study else {"patient_id": patient}
    said = await page.rest.post(f"{_MIGRATIONS}/{one_of(form, 'job')}/first", body)
    count = said["studies"]
    return page.done(f"{count} {'study comes' if count == 1 else 'studies come'} first.")


def add(app: FastAPI) -> None:
    """Add the routes."""
    screen(app, _BASE, show_find)
    screen(app, f"{_BASE}/find", find, "POST")
    screen(app, f"{_BASE}/fetch", fetch, "POST")
    screen(app, f"{_BASE}/retrieves", show_retrieves)
    screen(app, f"{_BASE}/retrieves/{{job}}/{{act}}", act, "POST")
    screen(app, f"{_BASE}/worklist", show_scheduled)
    screen(app, f"{_BASE}/worklist", find_scheduled, "POST")
    screen(app, f"{_BASE}/steps", show_steps)
    screen(app, f"{_BASE}/migrations", show_migrations)
    screen(app, f"{_BASE}/migrations", start_migration, "POST")
    screen(app, f"{_BASE}/migrations/first", bring_first, "POST")
    screen(app, f"{_BASE}/migrations/{{job}}/{{act}}", act_on_migration, "POST")
