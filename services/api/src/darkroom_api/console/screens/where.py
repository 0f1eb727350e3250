"""Where is my study? Its way from arrival to archive, destinations and films, on one page."""

from typing import Any, Final

from fastapi import FastAPI
from starlette.responses import Response

from darkroom_api.console.causes import cause
from darkroom_api.console.page import Page
from darkroom_api.console.screen import screen
from darkroom_api.console.screens.study import address
from darkroom_api.console.words import many

_SENT: Final = frozenset({"SENT", "COMMITTED"})
_CONFIRMED: Final = {"COMMITTED": ", and the destination has confirmed that it keeps them"}
_KEPT: Final = {
    "verified": "All of it was read again, and is as it was received.",
    "archived": "It is in the archive.",
}
_STOPPED: Final = frozenset({"FAILED", "UNKNOWN", "CANCELLED"})


async def show_search(page: Page) -> Response:
    """Show the one field, and the studies that it finds."""
    asked = page.asked.get("q", "")
    found = None
    if asked:
        found = await page.rest.get("/api/v1/studies/search", q=asked, page_size=20)
        if len(found["data"]) == 1 and not page.is_part:
            return page.go(f"/where/{found['data'][0]['study_instance_uid']}")
    name = "where_found.html" if page.is_part else "where.html"
    return page.render(name, asked=asked, found=found)


async def show_way(page: Page) -> Response:
    """Show the way of one study, and where it has stopped."""
    study = await page.rest.get(address(page.at("study")))
    sends = [await _sent(page, one) for one in study["sent_to"]]
    films = [await _printed(page, one) for one in study["printed_on"]]
    steps = [*_arrival(page, study), *sends, *films]
    gone = {"nowhere": not sends and not films}
    name = "where_steps.html" if page.is_part else "where_study.html"
    return page.render(name, study=study, uid=study["study_instance_uid"], steps=steps, **gone)


def _arrival(page: Page, study: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the steps from the first image to a whole study."""
    senders = ", ".join(study["calling_ae_titles"]) or "STOW-RS"
    begun = {
        "at": study["created_at"],
        "title": f"First image from {senders}",
        "state": "done",
        "text": f"{many(study['instance_count'], 'image')} in"
        f" {many(study['series_count'], 'series')}"
        " so far.",
    }
    whole: dict[str, Any] = {
        "at": study["completed_at"] or study["last_instance_at"],
        "title": "Complete" if study["completed_at"] else "Images still arrive",
        "state": "done" if study["completed_at"] else "receiving",
        "text": "Nothing more has come for a while; rules have been asked where to send it."
        if study["completed_at"]
        else "It is sent on when nothing more has come for a while.",
    }
    steps = [begun, whole]
    steps += [
        {
            "at": one["received_at"],
            "title": "Something disagrees with it",
            "state": "failed",
            "text": f"{one['kind'].replace('_', ' ').capitalize()}, from {one['calling_ae_title']}."
            " It waits for a decision.",
            **_leads(page, f"/trouble/conflicts/{one['conflict_id']}", "/trouble/conflicts/{one}"),
        }
        for one in study["conflicts"]
    ]
    if study["status"] in _KEPT:
        text = _KEPT[study["status"]]
        steps.append({"at": None, "title": "Kept", "state": study["status"], "text": text})
    return steps


def _leads(page: Page, path: str, route: str) -> dict[str, str]:
    """Return the link to where one sees to something, for whoever may."""
    return {"open": path} if page.may_open(route) else {}


async def _sent(page: Page, one: dict[str, Any]) -> dict[str, Any]:
    state = one["state"].upper()
    step = {
        "at": one["finished_at"] or one["created_at"],
        "title": f"To {one['destination']}",
        "state": one["state"],
        "text": f"{many(one['sent'], 'image')} sent{_CONFIRMED.get(state, '')}.",
    }
    if state in _SENT or not page.may("transmit:read"):
        return step
    job = await page.rest.get(f"/api/v1/transmit/jobs/{one['job_id']}")
    if job["reason"]:
        step["text"] = (
            f"{job['sent']} of {many(job['total'], 'image')} sent. {cause(job['reason'])}"
        )
    step |= {"done": job["sent"], "total": job["total"], "next_at": job.get("next_at")}
    if page.may("transmit:send") and state in _STOPPED:
        step |= {"act": "Send again", "path": f"/where/transmit/{one['job_id']}/retry"}
    return step


async def _printed(page: Page, one: dict[str, Any]) -> dict[str, Any]:
    step = {
        "at": one["finished_at"] or one["created_at"],
        "title": f"On {one['printer']}",
        "state": one["state"],
        "text": f"{many(one['films'], 'film')}.",
    }
    if one["state"] == "DONE" or not page.may("print:read"):
        return step
    job = await page.rest.get(f"/api/v1/print/jobs/{one['job_id']}")
    step |= {"done": job["films_done"], "total": job["films"], "next_at": job["next_at"]}
    if job["reason"]:
        step["text"] += f" {cause(job['reason'])}"
    if page.may("print:send") and one["state"] == "UNKNOWN":
        step["open"] = "/film/queue"
    elif page.may("print:send") and one["state"] in _STOPPED:
        step |= {"act": "Print again", "path": f"/film/jobs/{one['job_id']}/retry"}
    return step


async def send_again(page: Page) -> Response:
    """Send again what has failed."""
    await page.rest.post(f"/api/v1/transmit/jobs/{page.at('job')}/retry")
    return page.done("It is sent again.")


def add(app: FastAPI) -> None:
    """Add the routes."""
    screen(app, "/where", show_search)
    screen(app, "/where/{study}", show_way)
    screen(app, "/where/transmit/{job}/retry", send_again, "POST")
