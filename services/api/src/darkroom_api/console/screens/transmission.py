"""Transmission: jobs and why they wait, destinations, rules and what they would do."""

from typing import Any, Final
from urllib.parse import quote

from fastapi import FastAPI
from starlette.responses import Response

from darkroom_api.console.page import Page, one_of
from darkroom_api.console.screen import screen

_JOBS: Final = "/api/v1/transmit/jobs"
_DESTINATIONS: Final = "/api/v1/destinations"
_RULES: Final = "/api/v1/rules"
_STATES: Final = (*("PENDING", "SENDING", "RETRYING", "SENT", "COMMITTED", "FAILED", "CANCELLED"),)
_MOST: Final = 200
_OF_SPEC: Final = ("ae_title", "calling_ae_title", "host", "url")


async def show_jobs(page: Page) -> Response:
    """Show jobs with their progress, and why and until when they wait."""
    asked = {name: page.asked.get(name, "") for name in ("state", "destination")}
    found = await page.rest.get(_JOBS, **asked, page=page.asked.get("page"))
    data: dict[str, Any] = {"found": found, "asked": asked}
    if page.is_part:
        return page.render("transmission_rows.html", **data)
    listed = await page.rest.get(_DESTINATIONS, page_size=_MOST)
    names = [one["name"] for one in listed["data"]]
    return page.render("transmission.html", **data, states=_STATES, destinations=names)


async def show_job(page: Page) -> Response:
    """Show a job: its attempts, and what became of each instance."""
    job = page.at("job")
    found = await page.rest.get(f"{_JOBS}/{job}")
    instances = await page.rest.get(f"{_JOBS}/{job}/instances", page=page.asked.get("page"))
    return page.render("transmission_job.html", job=found, found=instances)


async def retry(page: Page) -> Response:
    """Send again what has failed."""
    await page.rest.post(f"{_JOBS}/{page.at('job')}/retry")
    return page.done("It is sent again.")


async def cancel(page: Page) -> Response:
    """Send no more of a job."""
    await page.rest.post(f"{_JOBS}/{page.at('job')}/cancel")
    return page.done("No more of it is sent.")


async def show_destinations(page: Page) -> Response:
    """Show destinations and how they are."""
    found = await page.rest.get(_DESTINATIONS, page=page.asked.get("page"), page_size=50)
    part = "destination_rows.html" if page.is_part else "destinations.html"
    return page.render(part, found=found)


async def add_destination(page: Page) -> Response:
    """Add a destination."""
    form = await page.form()
    spec = _spec(form)
    await page.rest.post(_DESTINATIONS, {"name": one_of(form, "name"), **spec})
    return page.done("The destination is there. Test it before a rule sends to it.")


async def edit_destination(page: Page) -> Response:
    """Change what the form has of a destination; the rest stays as it is."""
    form, path = await page.form(), _at(_DESTINATIONS, page)
    now = await page.rest.get(path)
    shown = ("name", "version", "created_at", "updated_at", "unreadable", "breaker")
    kept = {
        name: value
        for name, value in now.items()
        if name not in shown and not name.startswith(("echo_", "breaker_"))
    }
    body = {**kept, **_spec(form)}
    match = {"if-match": f'"{one_of(form, "version")}"'}
    await page.rest.ask("PUT", path, body=body, more=match)
    return page.done("The destination is changed.")


async def remove_destination(page: Page) -> Response:
    """Remove a destination that nothing needs any more."""
    await page.rest.ask("DELETE", _at(_DESTINATIONS, page))
    return page.done("The destination is removed.")


async def echo(page: Page) -> Response:
    """Ask a destination now whether it is there."""
    said = await page.rest.post(_at(_DESTINATIONS, page) + "/echo")
    return page.render("destination_echo.html", name=page.at("name"), said=said)


async def show_rules(page: Page) -> Response:
    """Show rules in the order in which they are looked at."""
    found = await page.rest.get(_RULES, page=page.asked.get("page"), page_size=50)
    if page.is_part:
        return page.render("rule_rows.html", found=found)
    listed = await page.rest.get(_DESTINATIONS, page_size=_MOST)
    names = [one["name"] for one in listed["data"]]
    return page.render("rules.html", found=found, destinations=names)


async def add_rule(page: Page) -> Response:
    """Add a rule."""
    form = await page.form()
    conditions = {
        name: [one.strip() for one in form[name][0].split(",") if one.strip()]
        for name in ("modalities", "calling_ae_titles", "study_descriptions")
        if form.get(name, [""])[0].strip()
    }
    body = {
        "name": one_of(form, "name"),
        "position": one_of(form, "position"),
        "destinations": [one_of(form, "destination")],
        "conditions": conditions,
        "stop": "stop" in form,
    }
    await page.rest.post(_RULES, body)
    return page.done("The rule is in force.")


async def remove_rule(page: Page) -> Response:
    """Remove a rule."""
    await page.rest.ask("DELETE", _at(_RULES, page))
    return page.done("The rule is removed.")


async def dry_run(page: Page) -> Response:
    """Explain what the rules would do with a study."""
    study = one_of(await page.form(), "study_instance_uid")
    said = await page.rest.post(f"{_RULES}/dry-run", {"study_instance_uid": study})
    return page.render("rules_explained.html", said=said)


def _at(base: str, page: Page) -> str:
    return f"{base}/{quote(page.at('name'), safe='')}"


def _spec(form: dict[str, list[str]]) -> dict[str, Any]:
    """Return what the form of a destination says of it."""
    said = {name: form.get(name, [""])[0].strip() for name in (*_OF_SPEC, "port", "rate", "kind")}
    spec: dict[str, Any] = {name: said[name] for name in _OF_SPEC if said[name]}
    spec["kind"] = said["kind"] or "dimse"
    spec["port"] = said["port"] or None
    spec["throttle_bytes_per_second"] = said["rate"] or None
    return spec


def add(app: FastAPI) -> None:
    """Add the routes."""
    base = "/transmission"
    destinations, rules = f"{base}/destinations", f"{base}/rules"
    screen(app, base, show_jobs)
    screen(app, f"{base}/jobs/{{job}}", show_job)
    screen(app, f"{base}/jobs/{{job}}/retry", retry, "POST")
    screen(app, f"{base}/jobs/{{job}}/cancel", cancel, "POST")
    screen(app, destinations, show_destinations)
    screen(app, destinations, add_destination, "POST")
    screen(app, f"{destinations}/{{name}}", edit_destination, "POST")
    screen(app, f"{destinations}/{{name}}/echo", echo, "POST")
    screen(app, f"{destinations}/{{name}}/remove", remove_destination, "POST")
    screen(app, rules, show_rules)
    screen(app, rules, add_rule, "POST")
    screen(app, f"{rules}/dry-run", dry_run, "POST")
    screen(app, f"{rules}/{{name}}/remove", remove_rule, "POST")
