"""Transmission: jobs and why they wait, destinations, rules and what they would do."""

from typing import Any, Final

from fastapi import FastAPI
from starlette.responses import Response

from darkroom_api.console.changing import change, path_of, spec_of, switch
from darkroom_api.console.page import Page, one_of
from darkroom_api.console.screen import screen
from darkroom_api.console.whose import studies_of, whose
from darkroom_common.resources.declared import DESTINATIONS, RULES

_JOBS: Final = "/api/v1/transmit/jobs"
_STATES: Final = (*("PENDING", "SENDING", "RETRYING", "SENT", "COMMITTED", "FAILED", "CANCELLED"),)
_MOST: Final = 200
_LISTED: Final = ("modalities", "calling_ae_titles", "study_descriptions")
_OF_SPEC: Final = ("ae_title", "calling_ae_title", "host", "url")


async def show_jobs(page: Page) -> Response:
    """Show jobs with their progress, and why and until when they wait."""
    asked = {name: page.asked.get(name, "") for name in ("state", "destination")}
    found = await page.rest.get(_JOBS, **asked, page=page.asked.get("page"))
    names = await whose(page, studies_of(found))
    data: dict[str, Any] = {"found": found, "asked": asked, "names": names}
    if page.is_part:
        return page.render("transmission_rows.html", **data)
    listed = await page.rest.get(DESTINATIONS.path, page_size=_MOST)
    destinations = [one["name"] for one in listed["data"]]
    return page.render("transmission.html", **data, states=_STATES, destinations=destinations)


async def show_job(page: Page) -> Response:
    """Show a job: its attempts, and what became of each instance."""
    job = page.at("job")
    found = await page.rest.get(f"{_JOBS}/{job}")
    instances = await page.rest.get(f"{_JOBS}/{job}/instances", page=page.asked.get("page"))
    names = await whose(page, [found["study_instance_uid"]])
    return page.render("transmission_job.html", job=found, found=instances, names=names)


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
    found = await page.rest.get(DESTINATIONS.path, page=page.asked.get("page"), page_size=50)
    part = "destination_rows.html" if page.is_part else "destinations.html"
    return page.render(part, found=found)


async def add_destination(page: Page) -> Response:
    """Add a destination."""
    form = await page.form()
    spec = _spec(form)
    await page.rest.post(DESTINATIONS.path, {"name": one_of(form, "name"), **spec})
    return page.done("The destination is there. Test it before a rule sends to it.")


async def edit_destination(page: Page) -> Response:
    """Change what the form has of a destination; the rest stays as it is."""
    form = await page.form()
    await change(page, DESTINATIONS, form, _spec(form))
    return page.done("The destination is changed.")


async def hold_or_go(page: Page) -> Response:
    """Send nothing to a destination for now, or let its jobs go on."""
    if await switch(page, DESTINATIONS):
        return page.done("Its jobs go on.")
    return page.done("Its jobs wait until it is released.")


async def remove_destination(page: Page) -> Response:
    """Remove a destination that nothing needs any more."""
    await page.rest.ask("DELETE", path_of(DESTINATIONS, page.at("name")))
    return page.done("The destination is removed.")


async def echo(page: Page) -> Response:
    """Ask a destination now whether it is there."""
    said = await page.rest.post(path_of(DESTINATIONS, page.at("name")) + "/echo")
    return page.render("destination_echo.html", name=page.at("name"), said=said)


async def show_rules(page: Page) -> Response:
    """Show rules in the order in which they are looked at."""
    found = await page.rest.get(RULES.path, page=page.asked.get("page"), page_size=50)
    listed = await page.rest.get(DESTINATIONS.path, page_size=_MOST)
    names = [one["name"] for one in listed["data"]]
    remotes = [one["name"] for one in listed["data"] if one["kind"] == "dimse"]
    part = "rule_rows.html" if page.is_part else "rules.html"
    return page.render(part, found=found, destinations=names, remotes=remotes)


async def add_rule(page: Page) -> Response:
    """Add a rule."""
    form = await page.form()
    await page.rest.post(RULES.path, {"name": one_of(form, "name"), **_rule(form, {})})
    return page.done("The rule is in force.")


async def edit_rule(page: Page) -> Response:
    """Change what the form has of a rule; the rest stays as it is."""
    form = await page.form()
    now = await spec_of(page, RULES, page.at("name"))
    await change(page, RULES, form, _rule(form, now))
    return page.done("The rule is changed.")


async def use_or_not(page: Page) -> Response:
    """Put a rule out of force, or in force again."""
    if await switch(page, RULES):
        return page.done("The rule is in force.")
    return page.done("The rule is not looked at until it is put in force again.")


def _rule(form: dict[str, list[str]], now: dict[str, Any]) -> dict[str, Any]:
    """Return what the form says of a rule that is so `now`."""
    conditions = dict(now.get("conditions", {}))
    for name in _LISTED:
        given = form.get(name, [""])[0].split(",")
        conditions[name] = [one.strip() for one in given if one.strip()]
    remote = form.get("prefetch", [""])[0]
    return {
        "position": one_of(form, "position"),
        "destinations": [one for one in form.get("destination", ()) if one],
        "conditions": conditions,
        "priority": form.get("priority", ["medium"])[0],
        "prefetch": {**(now.get("prefetch") or {}), "remote": remote} if remote else None,
        "stop": "stop" in form,
    }


async def remove_rule(page: Page) -> Response:
    """Remove a rule."""
    await page.rest.ask("DELETE", path_of(RULES, page.at("name")))
    return page.done("The rule is removed.")


async def dry_run(page: Page) -> Response:
    """Explain what the rules would do with a study."""
    study = one_of(await page.form(), "study_instance_uid")
    said = await page.rest.post(f"{RULES.path}/dry-run", {"study_instance_uid": study})
    return page.render("rules_explained.html", said=said)


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
    screen(app, f"{destinations}/{{name}}/switch", hold_or_go, "POST")
    screen(app, f"{destinations}/{{name}}/remove", remove_destination, "POST")
    screen(app, rules, show_rules)
    screen(app, rules, add_rule, "POST")
    screen(app, f"{rules}/dry-run", dry_run, "POST")
    screen(app, f"{rules}/{{name}}", edit_rule, "POST")
    screen(app, f"{rules}/{{name}}/switch", use_or_not, "POST")
    screen(app, f"{rules}/{{name}}/remove", remove_rule, "POST")
