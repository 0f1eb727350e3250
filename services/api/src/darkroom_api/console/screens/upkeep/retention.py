"""Retention: what goes when and why, what the nights have done, and what is held."""

from typing import Final
from urllib.parse import quote

from fastapi import FastAPI
from starlette.responses import Response

from darkroom_api.console.page import Page, one_of
from darkroom_api.console.screen import screen

_PAGE: Final = "/system/retention"
_HOLDS: Final = {"study": "/api/v1/legal-holds", "patient": "/api/v1/patient-holds"}
_SHOWN: Final = 20


async def show_retention(page: Page) -> Response:
    """Show a dry run until a day, the last nights, what can be restored, and holds."""
    asked = {"on": page.asked.get("on", "")}
    plan = await page.rest.get(
        "/api/v1/retention/plan", on=asked["on"], page=page.asked.get("page"), page_size=50
    )
    if page.is_part:
        return page.render("retention_rows.html", plan=plan, asked=asked)
    data = {
        "rules": await page.rest.get("/api/v1/retention", on=asked["on"]),
        "runs": await page.rest.get("/api/v1/retention/runs", page_size=7),
        "marked": await page.rest.get(
            "/api/v1/study-removals", page_size=_SHOWN, action="delete", state="DONE"
        ),
        "held": await page.rest.get(_HOLDS["study"], page_size=_SHOWN),
        "patients": await page.rest.get(_HOLDS["patient"], page_size=_SHOWN),
    }
    return page.render("retention.html", plan=plan, asked=asked, **data)


async def hold(page: Page) -> Response:
    """Hold a study, or a patient with all that there is and will be of them."""
    form = await page.form()
    body: dict[str, object] = {"reason": one_of(form, "reason"), "owner": form["owner"][0]}
    study = form.get("exam_id", [""])[0]
    if study:
        await page.rest.post(_HOLDS["study"], body | {"exam_id": study})
        return page.go(_PAGE)
    patient = {
        "patient_id": one_of(form, "patient_id"),
        "issuer_of_patient_id": form.get("issuer", [""])[0],
    }
    await page.rest.post(_HOLDS["patient"], body | {"patient": patient})
    return page.go(_PAGE)


async def release(page: Page) -> Response:
    """End a hold."""
    form = await page.form()
    of, one = one_of(form, "of"), one_of(form, "hold")
    await page.rest.ask("DELETE", f"{_HOLDS[of]}/{quote(one, safe='')}")
    return page.go(_PAGE)


async def restore(page: Page) -> Response:
    """Restore what was deleted and is not purged yet."""
    form = await page.form()
    path = f"/api/v1/study-removals/{quote(one_of(form, 'job'), safe='')}/restore"
    await page.rest.post(path, {"reason": one_of(form, "reason")})
    return page.done("It is being restored.")


def add(app: FastAPI) -> None:
    """Add the routes."""
    screen(app, _PAGE, show_retention)
    screen(app, f"{_PAGE}/hold", hold, "POST")
    screen(app, f"{_PAGE}/release", release, "POST")
    screen(app, f"{_PAGE}/restore", restore, "POST")
