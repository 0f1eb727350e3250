"""Every exchange, queue, binding and policy, as values; used by reference, never typed twice.

Services declare names and bindings at start. What an operator may tune (limits) is a policy, and
the policies of the local stack, the compose file and the chart are rendered from here. What the
guarantee rests on (quorum, dead-lettering at least once) is an argument of the queue, so that no
policy can take it away.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from darkroom_common.messages.base import Exchange, Message
from darkroom_common.messages.commands import (
    ChangeStudyStatus,
    DeleteStudy,
    EditStudies,
    PrintFilm,
    RecallStudy,
    RemovePart,
    RemoveStudy,
    ResolveConflict,
    RetrieveFromRemote,
    SendObjects,
    StartMigration,
    ValidateLicence,
)
from darkroom_common.messages.events import (
    AssociationsEnded,
    CommandRefused,
    ConflictOpened,
    ConflictResolved,
    InstanceDamaged,
    InstanceQuarantined,
    InstancesIndexed,
    InstancesReplaced,
    InstancesStored,
    JobChanged,
    LicenceChecked,
    NodeStateChanged,
    PrintJobChanged,
    SettingsInForce,
    StudyCompleted,
    StudyRemoved,
    StudyStatusChanged,
    TransmitJobChanged,
)
from darkroom_common.messages.procedure_steps import (
    ProcedureStepChanged,
    StudyOrdered,
    WorklistChanged,
)
from darkroom_common.messages.repairs import InstanceRepaired
from darkroom_common.messages.requests import INGEST_REQUESTS as ASKED_OF_INGEST
from darkroom_common.messages.requests import METADATA_REQUESTS as ASKED_OF_METADATA
from darkroom_common.messages.requests import PRINT_REQUESTS as ASKED_OF_PRINT
from darkroom_common.messages.requests import REMOTE_REQUESTS
from darkroom_common.messages.requests import TRANSMIT_REQUESTS as ASKED_OF_TRANSMIT
from darkroom_common.messages.resources import requests_of

DEAD_EXCHANGE: Final = "darkroom.dead"
RETRY_TIERS: Final[Mapping[str, timedelta]] = {
    "5s": timedelta(seconds=5),
    "30s": timedelta(seconds=30),
    "2m": timedelta(minutes=2),
    "10m": timedelta(minutes=10),
    "1h": timedelta(hours=1),
}
CRASH_LIMIT: Final = 10
"""How often a delivery may be lost to a dying consumer before it is dead-lettered."""
DELIVERY_LIMIT: Final = 1000
"""The broker's own limit, far above ours: it counts every outstanding message of a crash."""


def retry_exchange(tier: str) -> str:
    """Return the name of a tier's exchange, which is its queue's name too."""
    return f"darkroom.retry.{tier}"


@dataclass(frozen=True)
class WorkQueue:
    """One durable queue of one service, with its dead-letter queue."""

    name: str
    binds: tuple[type[Message], ...]
    prefetch: int
    tiers: tuple[str, ...] = tuple(RETRY_TIERS)
    max_length: int = 5_000_000
    unbinds: tuple[str, ...] = ()
    """Events that an earlier release has bound it to; what waits of them is read all the same."""
    needed: bool = True
    """Whether what only this one takes cannot be published before it is there."""
    arguments: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        """Derive the arguments that the guarantee rests on."""
        arguments = {
            "x-queue-type": "quorum",
            "x-dead-letter-exchange": DEAD_EXCHANGE,
            "x-dead-letter-routing-key": self.dead,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-delivery-limit": DELIVERY_LIMIT,
        }
        object.__setattr__(self, "arguments", arguments)

    @property
    def dead(self) -> str:
        """The name of the dead-letter queue and its routing key on `darkroom.dead`."""
        return f"{self.name}.dead"

    def tier(self, attempt: int) -> str | None:
        """Return the tier to wait in after the given failed attempt (1 is the first)."""
        return self.tiers[attempt - 1] if 1 <= attempt <= len(self.tiers) else None


QUORUM_ARGUMENTS: Final[Mapping[str, Any]] = {"x-queue-type": "quorum"}


def retry_arguments(tier: str) -> dict[str, Any]:
    """Return the arguments of a tier's queue: expired messages go to the queue they name."""
    del tier
    return {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


@dataclass(frozen=True)
class RequestQueue:
    """Where requests wait for their reply. What is not taken within its time limit is dropped."""

    name: str
    binds: tuple[type[Message], ...]
    prefetch: int = 16
    arguments: Mapping[str, Any] = field(init=False, hash=False)

    def __post_init__(self) -> None:
        """Bound it: nobody waits for the thousandth reply."""
        arguments = {
            "x-queue-type": "quorum",
            "x-overflow": "reject-publish",
            "x-max-length": 1000,
            "x-delivery-limit": 3,
        }
        object.__setattr__(self, "arguments", arguments)


METADATA_INDEX: Final = WorkQueue(
    "metadata.index", (InstancesStored,), prefetch=64, unbinds=("dicom.instance.stored.v1",)
)
METADATA_STUDIES: Final = WorkQueue(
    "metadata.studies", (DeleteStudy, ChangeStudyStatus), prefetch=20
)
METADATA_CONFLICTS: Final = WorkQueue("metadata.conflicts", (ResolveConflict,), prefetch=20)
METADATA_EDITS: Final = WorkQueue("metadata.edits", (EditStudies,), prefetch=20)
METADATA_REMOVALS: Final = WorkQueue(
    "metadata.removals", (RemoveStudy, RemovePart, RecallStudy), prefetch=20
)
METADATA_ORDERS: Final = WorkQueue("metadata.orders", (StudyOrdered,), prefetch=50)
TRANSMIT_ROUTE: Final = WorkQueue(
    "transmit.route",
    (InstancesIndexed, InstancesReplaced, StudyCompleted),
    prefetch=64,
    unbinds=("dicom.instance.indexed.v1",),
)
TRANSMIT_JOBS: Final = WorkQueue(
    "transmit.jobs", (SendObjects, RetrieveFromRemote, StartMigration), prefetch=50
)
PRINT_JOBS: Final = WorkQueue("print.jobs", (PrintFilm,), prefetch=50)
PRINT_RULES: Final = WorkQueue("print.rules", (StudyCompleted,), prefetch=50)
API_REFUSALS: Final = WorkQueue("api.refusals", (CommandRefused,), prefetch=50)
API_NOTICES: Final = WorkQueue(
    "api.notices", (TransmitJobChanged, PrintJobChanged, JobChanged), prefetch=50
)
API_AUDIT: Final = WorkQueue(
    "api.audit",
    (AssociationsEnded, StudyRemoved, InstanceRepaired, SettingsInForce, WorklistChanged),
    prefetch=20,
)
API_STEPS: Final = WorkQueue("api.steps", (ProcedureStepChanged,), prefetch=20)
API_LICENCE: Final = WorkQueue("api.licence", (LicenceChecked,), prefetch=1)
API_EVENTS: Final = WorkQueue(
    "api.events",
    (
        InstancesIndexed,
        InstancesReplaced,
        InstanceQuarantined,
        InstanceDamaged,
        InstanceRepaired,
        StudyCompleted,
        StudyStatusChanged,
        StudyRemoved,
        ConflictOpened,
        ConflictResolved,
        TransmitJobChanged,
        PrintJobChanged,
        JobChanged,
        NodeStateChanged,
        LicenceChecked,
    ),
    prefetch=100,
    needed=False,
)
"""What is told to people and programs outside."""
LICENSING_REQUESTS: Final = WorkQueue("licensing.requests", (ValidateLicence,), prefetch=10)

WORK_QUEUES: Final = (
    METADATA_INDEX,
    METADATA_STUDIES,
    METADATA_CONFLICTS,
    METADATA_EDITS,
    METADATA_REMOVALS,
    METADATA_ORDERS,
    TRANSMIT_ROUTE,
    TRANSMIT_JOBS,
    PRINT_JOBS,
    PRINT_RULES,
    API_REFUSALS,
    API_NOTICES,
    API_AUDIT,
    API_STEPS,
    API_LICENCE,
    API_EVENTS,
    LICENSING_REQUESTS,
)

TRANSMIT_REQUESTS: Final = RequestQueue(
    "transmit.requests", (*ASKED_OF_TRANSMIT, *requests_of("transmit"))
)
PRINT_REQUESTS: Final = RequestQueue("print.requests", (*ASKED_OF_PRINT, *requests_of("print")))
INGEST_REQUESTS: Final = RequestQueue("ingest.requests", (*ASKED_OF_INGEST, *requests_of("ingest")))
METADATA_REQUESTS: Final = RequestQueue(
    "metadata.requests", (*ASKED_OF_METADATA, *requests_of("index"))
)
TRANSMIT_REMOTE: Final = RequestQueue("transmit.remote", REMOTE_REQUESTS)
"""What waits for other DICOM nodes: it must not hold up what transmit answers by itself."""
REQUEST_QUEUES: Final = (
    TRANSMIT_REQUESTS,
    TRANSMIT_REMOTE,
    PRINT_REQUESTS,
    INGEST_REQUESTS,
    METADATA_REQUESTS,
)
BOUND: Final = frozenset(
    message.TYPE
    for binds in (
        *(queue.binds for queue in WORK_QUEUES if queue.needed),
        *(queue.binds for queue in REQUEST_QUEUES),
    )
    for message in binds
)
"""The types that some queue must take; the others are for whoever listens."""


def render_policies(vhost: str) -> list[dict[str, Any]]:
    """Return the policies in the form of RabbitMQ's definitions file."""
    policies: list[dict[str, Any]] = [
        {
            "vhost": vhost,
            "name": f"darkroom-{queue.name}",
            "pattern": f"^{_escape(queue.name)}$",
            "apply-to": "queues",
            "priority": 10,
            "definition": {"max-length": queue.max_length, "overflow": "reject-publish"},
        }
        for queue in WORK_QUEUES
    ]
    policies += [
        {
            "vhost": vhost,
            "name": retry_exchange(tier).replace(".", "-"),
            "pattern": f"^{_escape(retry_exchange(tier))}$",
            "apply-to": "queues",
            "priority": 10,
            "definition": {"message-ttl": int(delay.total_seconds() * 1000)},
        }
        for tier, delay in RETRY_TIERS.items()
    ]
    return policies


def _escape(name: str) -> str:
    return name.replace(".", "\\.")


EXCHANGES: Final[Mapping[str, str]] = {
    Exchange.EVENTS.value: "topic",
    Exchange.COMMANDS.value: "topic",
    DEAD_EXCHANGE: "direct",
    **{retry_exchange(tier): "fanout" for tier in RETRY_TIERS},
}
