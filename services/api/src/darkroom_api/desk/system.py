"""How the house is: queues, room in the store, the database, certificates (API-23)."""

import asyncio
import datetime as dt
from pathlib import Path
from typing import Any, Final, Literal

import httpx
from fastapi import FastAPI
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from starlette.requests import Request

from darkroom_api.desk.measures import QUEUES, Measured
from darkroom_api.http.documented import errors
from darkroom_api.http.health import metrics_at, targets_of
from darkroom_api.http.parts import Parts, parts_of
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.postgres.pool import the_row
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.topology import WORK_QUEUES

log = get_logger(__name__)
_LOW: Final = 0.20
_VERY_LOW: Final = 0.10
_CERTIFICATE: Final = "darkroom_certificate_expires_timestamp_seconds"
_DEAD: Final = frozenset(queue.dead for queue in WORK_QUEUES)
_SIZE: Final = "SELECT pg_database_size(current_database()) AS bytes"


class Queue(BaseModel):
    """A queue of the broker."""

    name: str
    kind: Literal["work", "dead"] = Field(description="dead: what was given up and is collected")
    waiting: int = Field(description="messages that nobody has taken")
    seconds: float = Field(description="since it was seen empty last, in steps of 15")


class Storage(BaseModel):
    """The room on the volume of the object store."""

    free: int = Field(description="bytes")
    total: int = Field(description="bytes")
    level: Literal["enough", "low", "very low"] = Field(
        description="low: below 20 %; very low: below 10 %"
    )


class Certificate(BaseModel):
    """A certificate in force."""

    service: str
    listener: str
    expires_at: dt.datetime


class Finding(BaseModel):
    """Something that `darkroom doctor` has looked at on the machine of `darkroom up`."""

    what: str
    ok: bool
    detail: str
    remedy: str = Field(description="what to do when it is not `ok`")
    optional: bool


class System(BaseModel):
    """How the house is."""

    queues: list[Queue] | None = Field(description="null: the broker has not been asked yet")
    storage: Storage | None = Field(description="null: the store is away")
    database_bytes: int
    certificates: list[Certificate] = Field(
        description="of this replica, and of services that METRICS_TARGETS names"
    )
    machine: list[Finding] = Field(
        description="when `darkroom up` has started; none where something else starts the services"
    )


_FINDINGS: Final = TypeAdapter(list[Finding])


async def show_system(request: Request) -> System:
    """Show queues, storage, database and certificates."""
    parts = parts_of(request.scope)
    async with parts.database.acquire() as db:
        row = the_row(await db.fetchrow(_SIZE))
    return System(
        queues=_queues(parts.measured),
        storage=await _storage(parts.store),
        database_bytes=row["bytes"],
        certificates=await _certificates(parts),
        machine=await asyncio.to_thread(_machine, parts.settings.doctor_findings),
    )


def _machine(file: Path | None) -> list[Finding]:
    """Return what a file of findings says; nothing when it is not there, or is another's."""
    try:
        return [] if file is None else _FINDINGS.validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        log.warning("doctor.findings_unread", reason=type(error).__name__)
        return []


def _queues(measured: Measured) -> list[Queue] | None:
    if measured.depths is None:
        return None
    return [
        Queue(
            name=name,
            kind="dead" if name in _DEAD else "work",
            waiting=measured.depths.get(name, 0),
            seconds=measured.waiting.get(name, 0.0),
        )
        for name in QUEUES
    ]


async def _storage(store: Any) -> Storage | None:
    try:
        room = await store.space()
    except DependencyUnavailable:
        return None
    part = room.free / room.total if room.total else 0.0
    level: Literal["enough", "low", "very low"] = (
        "very low" if part < _VERY_LOW else "low" if part < _LOW else "enough"
    )
    return Storage(free=room.free, total=room.total, level=level)


async def _certificates(parts: Parts) -> list[Certificate]:
    own = [
        _certificate("api", sample.labels, sample.value)
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == _CERTIFICATE
    ]
    others = [one for one in targets_of(parts).items() if one[0] != "api"]
    told = await asyncio.gather(*(_of(parts, *one) for one in others))
    return sorted((*own, *(one for some in told for one in some)), key=lambda one: one.expires_at)


async def _of(parts: Parts, service: str, target: str) -> list[Certificate]:
    """Return the certificates of another service; none of one that does not answer now."""
    try:
        answer = await metrics_at(parts, target)
    except httpx.HTTPError:
        return []
    return [
        _certificate(service, sample.labels, sample.value)
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == _CERTIFICATE
    ]


def _certificate(service: str, labels: dict[str, str], expires: float) -> Certificate:
    at = dt.datetime.fromtimestamp(expires, dt.UTC)
    return Certificate(service=service, listener=labels.get("listener", ""), expires_at=at)


def add(app: FastAPI) -> None:
    """Add the route."""
    app.add_api_route(
        "/api/v1/system", show_system, tags=["operations"], responses=errors(401, 403, 503)
    )
