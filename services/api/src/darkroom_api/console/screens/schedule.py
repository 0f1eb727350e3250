"""What is scheduled here: entries of the modality worklist, steps that they tell of, workitems."""

from typing import Any, Final, get_args

from fastapi import FastAPI
from starlette.responses import Response

from darkroom_api.console.attributes import said, value
from darkroom_api.console.page import Page
from darkroom_api.console.screen import screen
from darkroom_api.console.whose import whose
from darkroom_common.specs.worklist.entries import StepState

_BASE: Final = "/schedule"
_STATES: Final = get_args(StepState)
_PERFORMED: Final = ("IN PROGRESS", "COMPLETED", "DISCONTINUED")
_OF_WORKITEMS: Final = ("SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED")
_MOST: Final = 100


async def show_entries(page: Page) -> Response:
    """Show the modality worklist that is kept here, what is to come first."""
    asked = {name: page.asked.get(name, "") for name in ("state", "modality")}
    found = await page.rest.get(
        "/api/v1/worklist", **asked, sort="-scheduled_at", page=page.asked.get("page")
    )
    name = "schedule_rows.html" if page.is_part else "schedule.html"
    return page.render(name, found=found, asked=asked, states=_STATES)


async def show_performed(page: Page) -> Response:
    """Show what modalities have told of procedure steps, the newest first."""
    asked = {"state": page.asked.get("state", "")}
    found = await page.rest.get("/api/v1/performed-steps", **asked, page=page.asked.get("page"))
    name = "performed_rows.html" if page.is_part else "performed.html"
    uids = [uid for one in found["data"] for uid in one["study_instance_uids"]]
    names = await whose(page, uids)
    return page.render(name, found=found, asked=asked, states=_PERFORMED, names=names)


async def show_workitems(page: Page) -> Response:
    """Show unified procedure steps, by their start."""
    state = page.asked.get("state", "")
    found = await page.rest.get(
        "/dicom-web/workitems", ProcedureStepState=state, limit=_MOST, includefield="PatientName"
    )
    rows = [_workitem(one) for one in found or ()]
    name = "workitem_rows.html" if page.is_part else "workitems.html"
    names = await whose(page, [one["study"] for one in rows])
    data = {"rows": rows, "names": names, "state": state, "states": _OF_WORKITEMS, "most": _MOST}
    return page.render(name, **data)


def _workitem(one: dict[str, Any]) -> dict[str, Any]:
    progress = value(one, "ProcedureStepProgressInformationSequence") or {}
    start = str(value(one, "ScheduledProcedureStepStartDateTime"))
    return {
        "uid": value(one, "SOPInstanceUID"),
        "state": value(one, "ProcedureStepState"),
        "label": value(one, "ProcedureStepLabel"),
        "list": value(one, "WorklistLabel"),
        "priority": value(one, "ScheduledProcedureStepPriority"),
        "name": said(value(one, "PatientName")),
        "id": value(one, "PatientID"),
        "study": value(one, "StudyInstanceUID"),
        "day": start[:8],
        "time": start[8:12],
        "progress": value(progress, "ProcedureStepProgress"),
        "doing": value(progress, "ProcedureStepProgressDescription"),
    }


def add(app: FastAPI) -> None:
    """Add the routes."""
    screen(app, _BASE, show_entries)
    screen(app, f"{_BASE}/performed", show_performed)
    screen(app, f"{_BASE}/workitems", show_workitems)
