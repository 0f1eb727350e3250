"""What each service may do at the broker, derived from the topology: one user each (BRK-01).

A user declares the exchanges, the retry tiers and its own queues; it publishes the types that its
service publishes and binds its queues to the types that they are for. Retries and replies go over
the default exchange, so that whoever may retry can reach a queue by its name; what is published
to the two topic exchanges is held to its types.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from darkroom_common.messages.base import Event, Exchange, Message
from darkroom_common.messages.commands import SendObjects, ValidateLicence
from darkroom_common.messages.events import (
    AssociationsEnded,
    CommandRefused,
    ConflictOpened,
    ConflictResolved,
    InstanceConflicted,
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
from darkroom_common.messages.registry import MESSAGE_TYPES
from darkroom_common.messages.repairs import InstanceRepaired
from darkroom_common.messages.requests import (
    ActOnJob,
    FindDestination,
    FollowCommitment,
    FollowJob,
    TakeCommitment,
)
from darkroom_common.topology import EXCHANGES, REQUEST_QUEUES, WORK_QUEUES, RequestQueue, WorkQueue

_OF_WORKERS: Final = (SettingsInForce, CommandRefused, JobChanged)
_OF_CALLERS: Final = (*_OF_WORKERS, AssociationsEnded, NodeStateChanged)
PUBLISHED: Final[Mapping[str, tuple[type[Message], ...]]] = {
    "ingest": (
        SettingsInForce,
        AssociationsEnded,
        InstancesStored,
        InstanceQuarantined,
        ProcedureStepChanged,
        FindDestination,
        SendObjects,
        FollowJob,
        ActOnJob,
        TakeCommitment,
        FollowCommitment,
        WorklistChanged,
        StudyOrdered,
    ),
    "metadata": (
        *_OF_WORKERS,
        InstancesStored,
        InstancesIndexed,
        InstancesReplaced,
        InstanceConflicted,
        InstanceDamaged,
        InstanceRepaired,
        ConflictOpened,
        ConflictResolved,
        StudyCompleted,
        StudyStatusChanged,
        StudyRemoved,
    ),
    "transmit": (*_OF_CALLERS, TransmitJobChanged),
    "print": (*_OF_CALLERS, PrintJobChanged),
    "api": (
        *_OF_WORKERS,
        *(one for one in MESSAGE_TYPES.values() if one.EXCHANGE is Exchange.COMMANDS),
    ),
    "licensing": (SettingsInForce, LicenceChecked, ValidateLicence),
}
"""The types that each service publishes; the broker refuses it any other."""
USERS: Final[Mapping[str, str]] = {service: f"darkroom_{service}" for service in PUBLISHED}
"""The user of each service: called like its role of PostgreSQL."""
_DEFAULT: Final = "amq.default"
"""What RabbitMQ calls the default exchange where it asks for permissions."""


def render_permissions(vhost: str) -> list[dict[str, Any]]:
    """Return the permissions of every user in the form of RabbitMQ's definitions file."""
    return [
        {"user": user, "vhost": vhost, **_permission(service)} for service, user in USERS.items()
    ]


def render_topic_permissions(vhost: str) -> list[dict[str, Any]]:
    """Return what may be published to, and bound from, the topic exchanges: patterns of types."""
    return [
        {"user": user, "vhost": vhost, "exchange": exchange.value, **_topics(service, exchange)}
        for service, user in USERS.items()
        for exchange in Exchange
    ]


def as_one(vhost: str) -> dict[str, Any]:
    """Return users and what they may do, as a definitions file has them, without passwords."""
    return {
        "users": list(USERS.values()),
        "permissions": render_permissions(vhost),
        "topic_permissions": render_topic_permissions(vhost),
    }


def _queues(service: str) -> list[WorkQueue | RequestQueue]:
    every = (*WORK_QUEUES, *REQUEST_QUEUES)
    return [queue for queue in every if queue.name.partition(".")[0] == service]


def _permission(service: str) -> dict[str, str]:
    queues = _queues(service)
    dead = WORK_QUEUES if service == "api" else [q for q in queues if isinstance(q, WorkQueue)]
    # A tier's queue is called like its exchange. All dead letters come to the api.
    own = [*EXCHANGES, *(queue.name for queue in queues), *(queue.dead for queue in dead)]
    return {"configure": _any_of(own), "write": _any_of([*own, _DEFAULT]), "read": _any_of(own)}


def _topics(service: str, exchange: Exchange) -> dict[str, str]:
    published = {one.TYPE for one in PUBLISHED[service] if one.EXCHANGE is exchange}
    bound: set[str] = set()
    for queue in _queues(service):
        bound |= {one.TYPE for one in queue.binds if one.EXCHANGE is exchange}
        if isinstance(queue, WorkQueue) and exchange is Event.EXCHANGE:
            bound |= set(queue.unbinds)
    return {"write": _any_of(published), "read": _any_of(bound)}


def _any_of(names: Iterable[str]) -> str:
    """Return a pattern that fits these names and no other; without a name, none at all."""
    return f"^({'|'.join(re.escape(name) for name in sorted(set(names)))})$" if names else "^$"
