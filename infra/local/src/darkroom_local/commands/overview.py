"""What the processes of the running stack say of themselves now: readiness, and their metrics.

All of it comes from `/readyz` and `/metrics`: numbers and names that administrators have given,
nothing of a patient.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from darkroom_local.stack.probe import not_ready_reason
from darkroom_local.stack.state import ProcessState, StackState

LOW: Final = 0.2
"""Share of a volume that is free at least, as the alerts have it."""
_SECONDS: Final = 3.0
_SLOW_SPOOL: Final = 300.0
_WELL: Final = frozenset({"valid", "unconfigured"})
Labels = Mapping[str, str]
Sample = tuple[str, Labels, float]


@dataclass(frozen=True)
class Volume:
    """Bytes of a file system."""

    free: float
    total: float

    @property
    def used(self) -> float:
        """The share that is used, from 0 to 1."""
        return 1 - self.free / self.total if self.total else 0.0


@dataclass(frozen=True)
class Queue:
    """A queue: messages that are ready, for how many seconds it has not been empty."""

    depth: int = 0
    waiting_seconds: float = 0.0
    paused: bool = False


@dataclass(frozen=True)
class Jobs:
    """How many jobs of a kind and lane are in a state."""

    kind: str
    lane: str
    state: str
    number: int


@dataclass(frozen=True)
class Overview:
    """All of it at one moment.

    Attributes:
        queues: by name, those of dead letters and retries included.
        dead_letters: that wait for an operator, by queue.
        spool_ready, spool_seconds: objects that wait for the relay, and the age of the oldest.
        breakers: destinations that are given up for a while, and the state of that.
        licence: the state in force; empty when nobody says.
        warnings: sentences about what somebody should look at.
    """

    processes: list[ProcessState]
    queues: dict[str, Queue] = field(default_factory=dict)
    dead_letters: dict[str, int] = field(default_factory=dict)
    jobs: list[Jobs] = field(default_factory=list)
    spool_ready: int = 0
    spool_seconds: float = 0.0
    volumes: dict[str, Volume] = field(default_factory=dict)
    breakers: dict[str, str] = field(default_factory=dict)
    licence: str = ""
    read_only: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        """Whether every process is."""
        return bool(self.processes) and all(one.ready for one in self.processes)


async def look(state: StackState) -> Overview:
    """Ask every process of a running stack."""
    async with httpx.AsyncClient(timeout=_SECONDS, trust_env=False, verify=state.trust) as client:
        asked = await asyncio.gather(*(_ask(client, one) for one in state.processes))
    samples = [sample for _, found in asked for sample in found]
    return overview([one for one, _ in asked], samples)


async def _ask(client: httpx.AsyncClient, one: ProcessState) -> tuple[ProcessState, list[Sample]]:
    if one.health_url is None:
        return one, []
    try:
        ready = await client.get(f"{one.health_url}/readyz")
        shown = await client.get(f"{one.health_url}/metrics")
    except httpx.HTTPError:
        return replace(one, ready=False, reason="does not answer"), []
    reason = not_ready_reason(ready)
    found = list(samples_of(shown.text)) if shown.is_success else []
    return replace(one, ready=not reason, reason=reason), found


def samples_of(text: str) -> Iterable[Sample]:
    """Return what a page of metrics says."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def overview(processes: list[ProcessState], samples: Iterable[Sample]) -> Overview:
    """Make an overview of what was said; what several processes tell alike counts once."""
    most: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for name, labels, value in samples:
        key = name, tuple(sorted(labels.items()))
        most[key] = max(most.get(key, value), value)

    def of(name: str) -> list[tuple[Labels, float]]:
        return [(dict(labels), value) for (one, labels), value in most.items() if one == name]

    def one_of(name: str) -> float:
        return max((value for _, value in of(name)), default=0.0)

    waiting = {labels["queue"]: value for labels, value in of("darkroom_queue_waiting_seconds")}
    paused = {labels["queue"]: value for labels, value in of("darkroom_consumer_paused")}
    total = {labels["volume"]: value for labels, value in of("darkroom_storage_total_bytes")}
    made = Overview(
        processes=processes,
        queues={
            labels["queue"]: Queue(
                int(value), waiting.get(labels["queue"], 0.0), bool(paused.get(labels["queue"]))
            )
            for labels, value in sorted(of("darkroom_queue_depth"), key=lambda one: one[0]["queue"])
        },
        dead_letters={
            labels["queue"]: int(value) for labels, value in of("darkroom_dead_letters") if value
        },
        jobs=[
            Jobs(labels["kind"], labels["lane"], labels["state"], int(value))
            for labels, value in of("darkroom_jobs_now")
            if value
        ],
        spool_ready=int(one_of("darkroom_spool_ready")),
        spool_seconds=one_of("darkroom_spool_oldest_seconds"),
        volumes={
            labels["volume"]: Volume(value, total.get(labels["volume"], 0.0))
            for labels, value in of("darkroom_storage_free_bytes")
        },
        breakers={
            labels["destination"]: labels["state"]
            for labels, value in of("darkroom_transmit_breaker")
            if value and labels["state"] != "closed"
        },
        licence=next(
            (labels["state"] for labels, value in of("darkroom_licence_state") if value), ""
        ),
        read_only=bool(one_of("darkroom_licence_read_only")),
    )
    return replace(made, warnings=list(_warnings(made)))


def _warnings(now: Overview) -> Iterable[str]:
    for one in now.processes:
        if not one.ready:
            yield f"{one.name} is not ready{': ' + one.reason if one.reason else ''}"
    yield from _of_queues(now)
    yield from _of_the_rest(now)


def _of_queues(now: Overview) -> Iterable[str]:
    for name, number in now.dead_letters.items():
        yield f"{number} dead letters of {name}: darkroom dead-letters"
    for name, queue in now.queues.items():
        if queue.paused:
            yield f"{name} is paused: nearly all of it fails"


def _of_the_rest(now: Overview) -> Iterable[str]:
    for name, volume in now.volumes.items():
        if volume.total and volume.used > 1 - LOW:
            yield f"{1 - volume.used:.0%} of the volume of {name} is free"
    if now.spool_seconds > _SLOW_SPOOL:
        yield f"an object has waited in the spool for {int(now.spool_seconds)} s"
    for destination, state in now.breakers.items():
        yield f"{destination} is given up for a while ({state})"
    if now.read_only or (now.licence and now.licence not in _WELL):
        yield f"the licence is {now.licence}: darkroom licence"


def as_json(now: Overview) -> dict[str, Any]:
    """Return an overview for programs."""
    return {
        "ready": now.ready,
        "processes": [
            {name: getattr(one, name) for name in ("name", "pid", "state", "ready", "reason")}
            for one in now.processes
        ],
        "queues": {
            name: {"depth": one.depth, "waiting_seconds": one.waiting_seconds, "paused": one.paused}
            for name, one in now.queues.items()
        },
        "dead_letters": now.dead_letters,
        "jobs": [
            {"kind": one.kind, "lane": one.lane, "state": one.state, "number": one.number}
            for one in now.jobs
        ],
        "spool": {"ready": now.spool_ready, "oldest_seconds": now.spool_seconds},
        "volumes": {
            name: {"free_bytes": one.free, "total_bytes": one.total}
            for name, one in now.volumes.items()
        },
        "breakers": now.breakers,
        "licence": {"state": now.licence, "read_only": now.read_only},
        "warnings": now.warnings,
    }
