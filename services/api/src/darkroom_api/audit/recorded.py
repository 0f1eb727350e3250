"""Which routes are audited as a whole: those that only read, and those whose work others do.

What changes something here records it by itself, in its own transaction; so does
what is accepted (202).
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, get_args
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.types import Message, Scope, Send

from darkroom_api.accounts.access import ACCESS
from darkroom_api.audit.actions import Action
from darkroom_api.audit.entries import Entry, Outcome
from darkroom_api.audit.recording import entry
from darkroom_api.callbacks.spec import CALLBACKS
from darkroom_api.http.parts import parts_of
from darkroom_common.dicom.identity import is_conformant
from darkroom_common.http.exchange import UPGRADE
from darkroom_common.postgres.pool import Connection
from darkroom_common.resources.declared import (
    DESTINATIONS,
    INDEXED_TAGS,
    PRINT_RULES,
    PRINTERS,
    RULES,
    SENDERS,
)
from darkroom_common.specs.conflicts import Action as Decision

_FAILED: Final = 400
_ACCEPTED: Final = 202
_KEPT: Final = "darkroom.recorded"
"""In the scope of a request whose row is in the transaction of what it, or an earlier one, did."""
KNOWN: Final = "darkroom.known"
"""In the scope of a request that reads: what it is to show as it was looked up before, until the
index has said that it still holds; else None."""
MORE: Final = "audited"
"""In the state of a request: details that its route adds to its row; nothing of a patient."""
_ACT: Final = "darkroom.act"
"""In the scope of a request with two rows: what both of them name."""
_ASKED: Final = frozenset(
    {
        Action.RESOURCE_CREATE,
        Action.RESOURCE_UPDATE,
        Action.RESOURCE_DELETE,
        Action.JOB_UPDATE,
        Action.STEP_CREATE,
        Action.STEP_UPDATE,
        Action.WORKLIST_UPDATE,
        Action.REMOTE_QUERY,
        Action.DICOMWEB_STORE,
        Action.OBJECT_CREATE,
    }
)
"""What another service, or another archive, does before there is an answer."""
_READ: Final = frozenset(
    {
        Action.DICOMWEB_RETRIEVE,
        Action.DICOMWEB_SEARCH,
        Action.STUDY_READ,
        Action.STUDY_SEARCH,
        Action.WORKLIST_READ,
    }
)
"""What changes nothing: its rows need not be durable before the answer."""
_UIDS: Final = frozenset({"study", "series", "instance", "workitem"})
_NAMING: Final = frozenset(
    {"study", "series", "instance", "frames", "name", "job", "step", "conflict", "film", "entry"}
    | {"workitem", "ae_title"}
)
"""Parameters of paths that are kept. An examination may be named by its accession number."""
_PART: Final = 64
"""Characters of a path's part that are kept: a UID has no more."""


@dataclass(frozen=True)
class Recorded:
    """What a request for a route does.

    Attributes:
        parameter: of the path that says with what; without it the address of what was made does.
    """

    action: Action
    resource_type: str
    parameter: str = ""


_DICOMWEB: Final = "/dicom-web/"
_SEARCHED: Final = ("/patients", "/studies", "/series", "/instances")
"""How the path of a search ends."""
_BY_METHOD: Final = {
    "POST": Action.DICOMWEB_STORE,
    "DELETE": Action.DICOMWEB_DELETE,
    "PUT": Action.DICOMWEB_UPDATE,
    "PATCH": Action.DICOMWEB_UPDATE,
}


def _dicomweb(method: str, path: str) -> Recorded:
    default = Action.DICOMWEB_SEARCH if path.endswith(_SEARCHED) else Action.DICOMWEB_RETRIEVE
    return Recorded(_BY_METHOD.get(method, default), "study", "study")


def _all() -> Iterator[tuple[tuple[str, str], Recorded]]:
    for method, path in ACCESS:
        if path.startswith(_DICOMWEB) and method != "OPTIONS":  # every transaction
            yield (method, path), _dicomweb(method, path)
    for path in ("/api/v1/studies", "/api/v1/studies/search"):
        yield ("GET", path), Recorded(Action.STUDY_SEARCH, "study")
    for resource in (DESTINATIONS, RULES, PRINTERS, PRINT_RULES, SENDERS, INDEXED_TAGS, CALLBACKS):
        kind = resource.kind.replace("-", "_")
        one = f"{resource.path}/{resource.in_path}"
        yield ("POST", resource.path), Recorded(Action.RESOURCE_CREATE, kind)
        yield ("PUT", one), Recorded(Action.RESOURCE_UPDATE, kind, "name")
        yield ("DELETE", one), Recorded(Action.RESOURCE_DELETE, kind, "name")
    for kind, acts in (
        ("transmit", ("retry", "cancel")),
        ("print", ("retry", "cancel", "confirm")),
        ("retrieve", ("retry", "cancel")),
    ):
        name = f"{kind}_job"
        asked = "/api/v1/remote/{name}/retrieve" if kind == "retrieve" else f"/api/v1/{kind}/jobs"
        yield ("POST", asked), Recorded(Action.JOB_CREATE, name)
        for act in acts:
            path = f"/api/v1/{kind}/jobs/{{job}}/{act}"
            yield ("POST", path), Recorded(Action.JOB_UPDATE, name, "job")
    again = "/api/v1/print/jobs/{job}/reprint"
    yield ("POST", again), Recorded(Action.JOB_CREATE, "print_job")
    yield ("POST", "/api/v1/remote/{name}/query"), Recorded(Action.REMOTE_QUERY, "remote", "name")
    yield ("POST", "/api/v1/worklist/query"), Recorded(Action.REMOTE_QUERY, "worklist")
    yield ("POST", "/api/v1/objects/{kind}"), Recorded(Action.OBJECT_CREATE, "instance")
    yield ("POST", "/api/v1/mpps"), Recorded(Action.STEP_CREATE, "step")
    for method in ("PATCH", "PUT"):
        yield (method, "/api/v1/mpps/{step}"), Recorded(Action.STEP_UPDATE, "step", "step")
    for word in get_args(Decision):
        path = f"/api/v1/conflicts/{{conflict}}/{word}"
        yield ("POST", path), Recorded(Action.CONFLICT_DECIDE, "conflict", "conflict")
    for path in ("/api/v1/conflicts/{conflict}", "/api/v1/conflicts/{conflict}/object"):
        yield ("GET", path), Recorded(Action.STUDY_READ, "conflict", "conflict")
    film = "/api/v1/print/jobs/{job}/films/{film}"
    yield ("GET", film), Recorded(Action.STUDY_READ, "print_job", "job")
    yield ("POST", "/api/v1/print/preview"), Recorded(Action.STUDY_READ, "print_preview")


_ENTRY: Final = "/api/v1/worklist/{entry}"
_SCHEDULED: Final = {
    ("GET", "/api/v1/worklist"): Recorded(Action.WORKLIST_READ, "worklist"),
    ("POST", "/api/v1/worklist"): Recorded(Action.WORKLIST_UPDATE, "worklist"),
    ("GET", _ENTRY): Recorded(Action.WORKLIST_READ, "worklist", "entry"),
    ("PUT", _ENTRY): Recorded(Action.WORKLIST_UPDATE, "worklist", "entry"),
    ("DELETE", _ENTRY): Recorded(Action.WORKLIST_UPDATE, "worklist", "entry"),
    ("GET", "/api/v1/performed-steps/{step}"): Recorded(Action.WORKLIST_READ, "step", "step"),
}
_WORKITEMS: Final = {
    (method, path): Recorded(
        Action.WORKLIST_READ if method == "GET" else Action.WORKLIST_UPDATE,
        "workitem" if "/workitems" in path else "workitem_reports",
        next((one for one in ("workitem", "ae_title") if f"{{{one}}}" in path), ""),
    )
    for method, path in ACCESS
    if path.startswith(("/dicom-web/workitems", "/dicom-web/subscribers"))
}
RECORDED: Final = (
    dict(_all())
    | _SCHEDULED
    | _WORKITEMS
    | {
        ("POST", f"/api/v1/tag-jobs/{{job}}/{act}"): Recorded(Action.JOB_UPDATE, "tag_job", "job")
        for act in ("retry", "cancel", "pause", "resume")
    }
    | {
        ("POST", f"/api/v1/migrations/{{job}}/{act}"): Recorded(
            Action.JOB_UPDATE, "migration", "job"
        )
        for act in ("retry", "cancel", "pause", "resume", "first")
    }
    | {("POST", "/api/v1/migrations"): Recorded(Action.JOB_CREATE, "migration")}
)


async def recording(scope: Scope, path: str, send: Send) -> Send:
    """Return `send` for a route, which writes the row before the answer begins.

    What another service is to do has a row now: after a crash of the API it is there all the same.
    What `send` raises then: `DependencyUnavailable`, or `Outdated` when what `KNOWN` names does not
    hold any more, and nothing of the answer has gone out.

    Raises:
        DependencyUnavailable: likewise.
    """
    what = RECORDED.get((scope["method"], path))
    if what is None:
        return send
    parts = parts_of(scope)
    if what.action in _ASKED:
        await parts.recorder.write(_entry(scope, path, what, None, ""))

    reads = what.action in _READ
    if reads:
        scope[KNOWN] = None

    async def sending(message: Message) -> None:
        if message["type"] in ("http.response.start", UPGRADE):
            status: int = message["status"]
            made = "" if what.parameter else _made(message)
            if status >= _FAILED or _KEPT not in scope:
                row = _entry(scope, path, what, status, made)
                if reads:
                    await parts.reads.write_of(row, scope.get(KNOWN))
                    scope[KNOWN] = None
                else:
                    await parts.recorder.write(row)
        await send(message)

    return sending


def _made(message: Message) -> str:
    """Return what the address of what was made ends with."""
    location = Headers(raw=list(message.get("headers", ()))).get("location", "")
    return location.rpartition("/")[2]


async def record_accepted(db: Connection, scope: Scope, job: str) -> None:
    """Write the row of a route that answers 202, in the transaction that keeps the job.

    Raises:
        DependencyUnavailable: the database is away.
    """
    path: str = scope["route"].path
    what = RECORDED[scope["method"], path]
    await parts_of(scope).audit.add(db, [_entry(scope, path, what, _ACCEPTED, job)])
    scope[_KEPT] = True


def recorded_before(scope: Scope) -> None:
    """Say that a request only repeats an earlier one, which has its row."""
    scope[_KEPT] = True


def _entry(scope: Scope, path: str, what: Recorded, status: int | None, made: str) -> Entry:
    given: dict[str, Any] = scope.get("path_params", {})
    named = {name: str(value)[:_PART] for name, value in given.items() if name in _NAMING}
    typed = {
        name: text for name, text in named.items() if name in _UIDS and not is_conformant(text)
    }
    parts = {name: text for name, text in named.items() if name not in typed}
    more: dict[str, Any] = scope["state"].get(MORE, {})
    details: dict[str, Any] = {"route": path, **parts, **more}
    if what.action in _ASKED:
        details["act"] = scope.setdefault(_ACT, uuid.uuid4().hex)
    outcome: Outcome = "asked"
    if status is not None:
        details["status"] = status
        outcome = "failure" if status >= _FAILED else "success"
    query: bytes = scope.get("query_string", b"")
    said = parse_qsl(query.decode("latin-1"), keep_blank_values=True) if query else []
    return entry(
        scope,
        what.action,
        what.resource_type,
        parts.get(what.parameter, "") if what.parameter else made,
        details=details,
        # Names of parameters, and what stands where a UID should, are what anybody typed.
        phi=({"query": said[:_PART]} if said else {}) | typed,
        outcome=outcome,
    )
