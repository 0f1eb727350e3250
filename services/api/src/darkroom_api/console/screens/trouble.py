"""Trouble: what was refused, given up, damaged or disagrees, and what can be done about it."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, get_args

from fastapi import FastAPI
from starlette.responses import Response

from darkroom_api.console.page import Page, one_of
from darkroom_api.console.screen import screen
from darkroom_api.console.whose import studies_of, whose
from darkroom_common.specs.conflicts import Action, refusal

_BASE: Final = "/trouble"
_QUARANTINE: Final = "/api/v1/quarantine"
_LETTERS: Final = "/api/v1/dead-letters"
_CONFLICTS: Final = "/api/v1/conflicts"
_FINDINGS: Final = "/api/v1/verification/findings"
_TIERS: Final = "/api/v1/verification/tiers"
_JOBS: Final = {
    "transmit": ("Sending", "/api/v1/transmit/jobs", "destination"),
    "print": ("Film", "/api/v1/print/jobs", "printer"),
    "retrieve": ("Retrieving", "/api/v1/retrieve/jobs", "remote"),
}
_LISTS: Final = {
    "quarantine": (_QUARANTINE, {"state": "HELD"}),
    "dead-letters": (_LETTERS, {"state": "HELD"}),
    "conflicts": (_CONFLICTS, {"state": "open"}),
    "findings": (_FINDINGS, {"state": "open"}),
}
_DONE: Final = {
    "release": "It is tried once more.",
    "replay": "It is worked on again.",
    "discard": "It is discarded.",
}


async def show_overview(page: Page) -> Response:
    """Show how much trouble of each kind there is."""
    counts: dict[str, int] = {}
    for name, (path, narrowed) in _LISTS.items():
        if page.may_open(f"{_BASE}/{name}"):
            counts[name] = (await page.rest.get(path, **narrowed, page_size=1))["total"]
    if page.may_open(f"{_BASE}/jobs"):
        counts["jobs"] = sum([found["total"] for _, _, found in await _failed(page, 1)])
    part = "trouble_counts.html" if page.is_part else "trouble.html"
    return page.render(part, counts=counts)


async def show_count(page: Page) -> Response:
    """Show the number of dead letters, for the menu; nothing when there is none."""
    found = await page.rest.get(_LETTERS, state="HELD", page_size=1)
    return page.render("trouble_count.html", count=found["total"])


def _listing(name: str) -> Callable[[Page], Awaitable[Response]]:
    path, narrowed = _LISTS[name]
    stem = name.replace("-", "_")

    async def show(page: Page) -> Response:
        found = await page.rest.get(path, **narrowed, page=page.asked.get("page"))
        part = f"{stem}_rows.html" if page.is_part else f"{stem}.html"
        names = await whose(page, studies_of(found)) if name == "conflicts" else {}
        tiers = None
        if name == "findings" and not page.is_part:
            tiers = await page.rest.get(_TIERS)
        return page.render(part, found=found, names=names, tiers=tiers)

    return show


def _acting(base: str, act: str) -> Callable[[Page], Awaitable[Response]]:
    async def do(page: Page) -> Response:
        form = await page.form()
        match = {"if-match": f'"{one_of(form, "version")}"'}
        body = {"force": True} if "force" in form else {}
        path = f"{base}/{page.at('one')}/{act}"
        await page.rest.ask("POST", path, body=body, more=match)
        return page.done(_DONE[act])

    return do


async def show_conflict(page: Page) -> Response:
    """Show both sides of a conflict, what differs, and what may be decided."""
    found = await page.rest.get(f"{_CONFLICTS}/{page.at('one')}")
    kind, state = found["kind"], found["state"]
    offered = [one for one in get_args(Action) if not refusal(kind, state, one, seen=True)]
    part = "conflict_sides.html" if page.is_part else "conflict.html"
    return page.render(part, found=found, offered=offered)


async def decide(page: Page) -> Response:
    """Decide about a conflict."""
    form = await page.form()
    action = one_of(form, "action")
    body: dict[str, Any] = {"reason": form.get("reason", [""])[0]}
    if action == "move":
        body["patient_id"] = one_of(form, "patient_id")
        body["issuer_of_patient_id"] = form.get("issuer_of_patient_id", [""])[0]
    await page.rest.ask(
        "POST",
        f"{_CONFLICTS}/{page.at('one')}/{action}",
        body=body,
        more={"if-match": f'"{one_of(form, "version")}"'},
    )
    return page.done("It is decided, and carried out now.")


async def _failed(page: Page, size: int) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the failed jobs of each kind that the person may see, and whom they are for."""
    may = {"transmit": "transmit:read", "print": "print:read", "retrieve": "remote:query"}
    return [
        (kind, whom, await page.rest.get(path, state="FAILED", page_size=size))
        for kind, (_, path, whom) in _JOBS.items()
        if page.may(may[kind])
    ]


async def show_jobs(page: Page) -> Response:
    """Show the jobs that have failed, the newest of each kind."""
    failed = [(kind, _JOBS[kind][0], whom, found) for kind, whom, found in await _failed(page, 50)]
    part = "failed_rows.html" if page.is_part else "failed.html"
    uids = [uid for kind, *_, found in failed if kind != "print" for uid in studies_of(found)]
    return page.render(part, failed=failed, names=await whose(page, uids))


def _retrying(kind: str) -> Callable[[Page], Awaitable[Response]]:
    async def retry(page: Page) -> Response:
        await page.rest.post(f"{_JOBS[kind][1]}/{page.at('job')}/retry")
        return page.done("It is tried again.")

    return retry


def add(app: FastAPI) -> None:
    """Add the routes."""
    screen(app, _BASE, show_overview)
    screen(app, f"{_BASE}/count", show_count)
    for name in _LISTS:
        screen(app, f"{_BASE}/{name}", _listing(name))
    for name, base, act in (
        ("quarantine", _QUARANTINE, "release"),
        ("quarantine", _QUARANTINE, "discard"),
        ("dead-letters", _LETTERS, "replay"),
        ("dead-letters", _LETTERS, "discard"),
    ):
        screen(app, f"{_BASE}/{name}/{{one}}/{act}", _acting(base, act), "POST")
    screen(app, f"{_BASE}/conflicts/{{one}}", show_conflict)
    screen(app, f"{_BASE}/conflicts/{{one}}", decide, "POST")
    screen(app, f"{_BASE}/jobs", show_jobs)
    for kind in _JOBS:
        screen(app, f"{_BASE}/{kind}/{{job}}/retry", _retrying(kind), "POST")
