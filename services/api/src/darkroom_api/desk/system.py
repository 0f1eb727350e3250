"""How the house is: queues, room in the store, the database, certificates (API-23)."""

import asyncio
import datetime as dt
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import httpx
from fastapi import FastAPI
from prometheus_client import REGISTRY, Metric
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
T = TypeVar("T")
_LOW: Final = 0.20
_VERY_LOW: Final = 0.10
_READY: Final = "darkroom_ready"
_BUILD: Final = "darkroom_build_info"
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


class Service(BaseModel):
    """A service of which METRICS_TARGETS knows where it is, or this replica."""

    service: str
    answers: bool
    ready: bool = Field(description="whether all that it needs is there")
    version: str = Field(description="empty: it does not answer")


class Drilled(BaseModel):
    """What the last `darkroom drill` has found of the newest backup."""

    at: dt.datetime
    generation: str
    agrees: bool = Field(description="whether what was restored is what was there")
    rpo_seconds: float = Field(description="what would have been lost: since the backup")
    rto_seconds: float = Field(description="how long it took to restore and compare")
    objects: int


class System(BaseModel):
    """How the house is."""

    services: list[Service]

    queues: list[Queue] | None = Field(description="null: the broker has not been asked yet")
    storage: Storage | None = Field(description="null: the store is away")
    database_bytes: int
    certificates: list[Certificate] = Field(
        description="of this replica, and of services that METRICS_TARGETS names"
    )
    last_drill: Drilled | None = Field(description="null: none that this replica knows of")
    machine: list[Finding] = Field(
        description="when `darkroom up` has started; none where something else starts the services"
    )


_FINDINGS: Final = TypeAdapter(list[Finding])
_DRILLED: Final = TypeAdapter(Drilled)
Told = list[tuple[str, list[Metric]]]


async def show_system(request: Request) -> System:
    """Show queues, storage, database and certificates."""
    parts = parts_of(request.scope)
    async with parts.database.acquire() as db:
        row = the_row(await db.fetchrow(_SIZE))
    told = await _told(parts)
    files = parts.settings
    return System(
        services=[_service(*one) for one in told],
        queues=_queues(parts.measured),
        storage=await _storage(parts.store),
        database_bytes=row["bytes"],
        certificates=_certificates(told),
        last_drill=await asyncio.to_thread(_read, files.last_drill, _DRILLED),
        machine=await asyncio.to_thread(_read, files.doctor_findings, _FINDINGS) or [],
    )


def _read(file: Path | None, kind: TypeAdapter[T]) -> T | None:
    """Return what a file says; None when it is not there, or is another's."""
    try:
        return None if file is None else kind.validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        log.warning("doctor.findings_unread", reason=type(error).__name__)
        return None


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


async def _told(parts: Parts) -> Told:
    """Return the metrics of this replica, and of every service that is named; none of one away."""
    others = [one for one in targets_of(parts).items() if one[0] != "api"]
    told = await asyncio.gather(*(_of(parts, target) for _, target in others))
    names = [service for service, _ in others]
    return [("api", list(REGISTRY.collect())), *zip(names, told, strict=True)]


async def _of(parts: Parts, target: str) -> list[Metric]:
    try:
        answer = await metrics_at(parts, target)
    except httpx.HTTPError:
        return []
    return list(text_string_to_metric_families(answer.text))


def _service(service: str, told: list[Metric]) -> Service:
    samples = {one.name: one for family in told for one in family.samples}
    ready, build = samples.get(_READY), samples.get(_BUILD)
    version = "" if build is None else build.labels["version"]
    is_ready = service == "api" or (ready is not None and ready.value == 1)  # the api has answered
    return Service(service=service, answers=bool(told), ready=is_ready, version=version)


def _certificates(told: Told) -> list[Certificate]:
    found = [
        _certificate(service, sample.labels, sample.value)
        for service, families in told
        for family in families
        for sample in family.samples
        if sample.name == _CERTIFICATE
    ]
    return sorted(found, key=lambda one: one.expires_at)


def _certificate(service: str, labels: dict[str, str], expires: float) -> Certificate:
    at = dt.datetime.fromtimestamp(expires, dt.UTC)
    return Certificate(service=service, listener=labels.get("listener", ""), expires_at=at)


def add(app: FastAPI) -> None:
    """Add the route."""
    app.add_api_route(
        "/api/v1/system", show_system, tags=["operations"], responses=errors(401, 403, 503)
    )
