"""What somebody should know of: made of what REST shows to them, the newest first."""

import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from darkroom_api.console.causes import cause
from darkroom_api.console.page import Page
from darkroom_common.clock import utc_now

_EACH: Final = 10
"""Of a kind; its own page has all."""
_CERTIFICATE_DAYS: Final = 30


@dataclass(frozen=True)
class Notice:
    """One thing to know.

    Attributes:
        at: when it happened.
        tone: good, bad, busy or calm.
        kind: of what it is.
        text: a sentence without anything of a patient.
        path: the page that has more of it.
    """

    at: dt.datetime
    tone: str
    kind: str
    text: str
    path: str


async def notices(page: Page) -> list[Notice]:
    """Return what somebody should know of, as far as they may see it."""
    found = [one for source in _SOURCES async for one in source(page)]
    return sorted(found, key=lambda one: one.at, reverse=True)


def _at(*said: str | None) -> dt.datetime:
    """Return the first moment that REST says of something."""
    return dt.datetime.fromisoformat(next(filter(None, said), utc_now().isoformat()))


async def _data(page: Page, path: str, **narrowed: Any) -> list[dict[str, Any]]:
    listed = await page.rest.get(path, **narrowed, page_size=_EACH)
    return list(listed["data"])


async def _jobs(page: Page) -> AsyncIterator[Notice]:
    for permission, kind, whom, path, shown in (
        ("transmit:read", "Sending", "destination", "/api/v1/transmit/jobs", "/transmission"),
        ("print:read", "Film", "printer", "/api/v1/print/jobs", "/film/queue"),
        ("remote:query", "Fetching", "remote", "/api/v1/retrieve/jobs", "/others/retrieves"),
    ):
        if not page.may(permission):
            continue
        for one in await _data(page, path, state="FAILED"):
            text = f"{one[whom]}: {cause(one['reason']) or 'it has failed.'}"
            yield Notice(_at(one["finished_at"], one["updated_at"]), "bad", kind, text, shown)
    if page.may("print:read"):
        for one in await _data(page, "/api/v1/print/jobs", state="UNKNOWN"):
            text = f"{one['printer']}: is the film there? Somebody has to look."
            yield Notice(_at(one["updated_at"]), "bad", "Film", text, "/film/queue")


async def _kept_apart(page: Page) -> AsyncIterator[Notice]:
    for permission, kind, path, state, at, reason in (
        ("dead_letters:read", "Dead letter", "dead-letters", "HELD", "died_at", "reason"),
        ("quarantine:read", "Quarantine", "quarantine", "HELD", "received_at", "reason"),
        ("conflicts:read", "Conflict", "conflicts", "open", "received_at", "kind"),
        ("verification:read", "Damage", "verification/findings", "open", "first_seen", "kind"),
    ):
        shown = f"/trouble/{path.rpartition('/')[2]}"
        if page.may(permission):
            for one in await _data(page, f"/api/v1/{path}", state=state):
                yield Notice(_at(one[at]), "bad", kind, cause(one[reason]), shown)


async def _nodes(page: Page) -> AsyncIterator[Notice]:
    if page.may("destinations:read"):
        for one in await _data(page, "/api/v1/destinations"):
            if one["echo_state"] == "DOWN":
                text = f"{one['name']}: {cause(one['echo_reason']) or 'it does not answer.'}"
                yield Notice(
                    _at(one["echo_since"]), "bad", "Destination", text, "/transmission/destinations"
                )
    if page.may("printers:read"):
        for one in await _data(page, "/api/v1/printers"):
            if one["status"] in {"FAILURE", "AWAY", "WARNING"}:
                tone = "busy" if one["status"] == "WARNING" else "bad"
                text = f"{one['name']}: {one['meaning']}"
                yield Notice(_at(one["status_at"]), tone, "Printer", text, "/film/printers")


async def _house(page: Page) -> AsyncIterator[Notice]:
    if not page.may("settings:read"):
        return
    now = utc_now()
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)  # new once a day
    licence = await page.rest.get("/api/v1/licence")
    if licence["reason"] and licence["edition"] != "community":
        tone = "bad" if licence["read_only"] else "busy"
        yield Notice(today, tone, "Licence", licence["reason"], "/system")
    system = await page.rest.get("/api/v1/system")
    room = system["storage"]
    if room is not None and room["level"] != "enough":
        text = f"{100 * room['free'] // room['total']} % of the room for images is left."
        tone = "bad" if room["level"] == "very low" else "busy"
        yield Notice(today, tone, "Storage", text, "/system")
    for one in system["certificates"]:
        days = (_at(one["expires_at"]) - now).days
        if days < _CERTIFICATE_DAYS:
            text = f"That of {one['service']} ({one['listener']}) expires in {max(days, 0)} days."
            tone = "busy" if days > 0 else "bad"
            yield Notice(today, tone, "Certificate", text, "/system")


async def _own(page: Page) -> AsyncIterator[Notice]:
    for one in await _data(page, "/api/v1/exports"):
        if one["status"] == "completed":
            text = f"A file of {one['format']} can be fetched."
            yield Notice(_at(one["finished_at"]), "good", "Export ready", text, one["download_url"])
    who = await page.rest.get("/api/v1/auth/me")
    if page.may("studies:read") and who["full_name"]:
        mine = {"physician": who["full_name"], "exam_status": "pending"}
        for one in await _data(page, "/api/v1/studies/search", **mine):
            text = "A study waits for you."
            shown = f"/study/{one['study_instance_uid']}"
            yield Notice(_at(one["last_instance_at"]), "calm", "Assigned to you", text, shown)


_SOURCES: Final = (_jobs, _kept_apart, _nodes, _house, _own)
