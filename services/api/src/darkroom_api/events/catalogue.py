"""What is told outside, made of the messages of the services, and who may see it.

An event carries UIDs, ids, words of ours and names that administrators have given; nothing that
identifies a patient, as the messages do not. Who wants more asks for it by REST or DICOMweb, where
their rights are checked.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from darkroom_api.accounts.permissions import Permission
from darkroom_api.callbacks.spec import EventType
from darkroom_common.messages.base import Event, Message
from darkroom_common.messages.events import (
    ConflictOpened,
    ConflictResolved,
    IndexedItem,
    InstanceDamaged,
    InstanceQuarantined,
    InstancesIndexed,
    InstancesReplaced,
    JobChanged,
    LicenceChecked,
    NodeStateChanged,
    PrintJobChanged,
    StudyCompleted,
    StudyRemoved,
    StudyStatusChanged,
    TransmitJobChanged,
)
from darkroom_common.messages.repairs import InstanceRepaired

TEST: Final = "callback.test"
"""The type of what is sent to try a callback: to it alone, and in no stream."""
_P: Final = Permission


@dataclass(frozen=True)
class Kind:
    """A type of event.

    Attributes:
        permission: that whoever sees it has.
        says: what it is, for people.
    """

    permission: Permission
    says: str


KINDS: Final[Mapping[EventType, Kind]] = {
    "instances.stored": Kind(
        _P.STUDIES_READ, "New instances of a series are durable and can be found and fetched."
    ),
    "instances.replaced": Kind(
        _P.STUDIES_READ, "Instances of a series have other bytes or attributes than before."
    ),
    "instance.quarantined": Kind(
        _P.QUARANTINE_READ, "What was sent could not be accepted as an object, and is kept apart."
    ),
    "instance.damaged": Kind(
        _P.VERIFICATION_READ, "A stored object is not as it was received any more."
    ),
    "instance.repaired": Kind(
        _P.VERIFICATION_READ, "A damaged object is again as it was received."
    ),
    "study.completed": Kind(
        _P.STUDIES_READ, "Nothing more of a study has come for a while; `revision` grows with more."
    ),
    "study.status_changed": Kind(_P.STUDIES_READ, "A study has entered another state of its life."),
    "study.removed": Kind(_P.STUDIES_READ, "A study, or a part of one, was deleted or is gone."),
    "conflict.opened": Kind(_P.CONFLICTS_READ, "Something disagrees with what is stored."),
    "conflict.resolved": Kind(_P.CONFLICTS_READ, "A decision about a conflict is carried out."),
    "transmit.job_changed": Kind(_P.TRANSMIT_READ, "A transmit job has entered a state."),
    "print.job_changed": Kind(_P.PRINT_READ, "A print job has entered a state."),
    "retrieve.job_changed": Kind(_P.REMOTE_QUERY, "A retrieve job has entered a state."),
    "node.state_changed": Kind(
        _P.DESTINATIONS_READ, "A destination or printer answers its echo, or does not any more."
    ),
    "licence.checked": Kind(_P.SETTINGS_READ, "The licence was looked at."),
    "callback.disabled": Kind(
        _P.CALLBACKS_READ, "A callback has failed too often; nothing more is sent to it."
    ),
    "callback.enabled": Kind(_P.CALLBACKS_READ, "A callback is in use again."),
}
MESSAGES: Final[Mapping[type[Event], EventType]] = {
    InstancesIndexed: "instances.stored",
    InstancesReplaced: "instances.replaced",
    InstanceQuarantined: "instance.quarantined",
    InstanceDamaged: "instance.damaged",
    InstanceRepaired: "instance.repaired",
    StudyCompleted: "study.completed",
    StudyStatusChanged: "study.status_changed",
    StudyRemoved: "study.removed",
    ConflictOpened: "conflict.opened",
    ConflictResolved: "conflict.resolved",
    TransmitJobChanged: "transmit.job_changed",
    PrintJobChanged: "print.job_changed",
    JobChanged: "retrieve.job_changed",
    NodeStateChanged: "node.state_changed",
    LicenceChecked: "licence.checked",
}
_FIELDS: Final[Mapping[EventType, tuple[str, ...]]] = {
    "instance.quarantined": ("receipt", "reason", "status", "size", "calling_ae_title"),
    "instance.damaged": (
        *("study_instance_uid", "series_instance_uid", "sop_instance_uid"),
        *("kind", "sha256", "size", "found_sha256"),
    ),
    "instance.repaired": (
        *("study_instance_uid", "series_instance_uid", "sop_instance_uid"),
        *("kind", "sha256", "size"),
    ),
    "study.completed": (
        *("study_instance_uid", "revision", "series", "instances", "modalities"),
        "calling_ae_titles",
    ),
    "study.status_changed": ("study_instance_uid", "old", "new", "revision", "version"),
    "study.removed": ("study_instance_uid", "how", "part", "removal_id", "objects"),
    "conflict.opened": (
        *("conflict_id", "kind", "study_instance_uid", "series_instance_uid"),
        *("sop_instance_uid", "attributes", "calling_ae_title"),
    ),
    "conflict.resolved": ("conflict_id", "kind", "state", "instances"),
    "transmit.job_changed": ("job_id", "destination", "state", "attempt", "reason"),
    "print.job_changed": ("job_id", "printer", "state", "reason"),
    "retrieve.job_changed": ("job_id", "lane", "state", "reason"),
    "node.state_changed": ("kind", "name", "state", "reason", "since"),
    "licence.checked": (
        *("state", "reason", "valid_until", "read_only", "read_only_from", "entitlements"),
        "features",
    ),
}
"""What is told of a message. A field that a later release adds is not told until it is here."""


@dataclass(frozen=True)
class Told:
    """An event as it is kept.

    Attributes:
        id: the same whenever it is made of the same message.
        at: when it has happened.
        data: JSON.
        traceparent: W3C Trace Context of what it comes of.
        callback_id: of the only callback that it is for; empty: it is for all.
    """

    id: str
    type: str
    at: datetime
    data: str
    traceparent: str = ""
    callback_id: str = ""


def told(message: Message, trace: Mapping[str, str]) -> list[Told]:
    """Return the events that a message stands for.

    Args:
        message: of one of the types of `MESSAGES`.
        trace: headers that it was published with.

    Raises:
        TypeError: it is of another type.
    """
    kind = next((name for model, name in MESSAGES.items() if isinstance(message, model)), None)
    if kind is None:
        raise TypeError(f"events got {message.TYPE}")
    if isinstance(message, InstancesIndexed | InstancesReplaced):
        return list(_by_series(message, kind, trace))
    if isinstance(message, JobChanged) and message.kind != "retrieve":
        return []  # exports and bulk changes are their owners' own
    data = message.model_dump(mode="json", include=set(_FIELDS[kind]))
    parent = trace.get("traceparent", "")
    return [Told(message.id, kind, message.occurred_at, as_json(data), parent)]


def as_json(data: Mapping[str, Any]) -> str:
    """Return the data of an event as it is kept and sent."""
    return json.dumps(data, separators=(",", ":"))


def _by_series(
    message: InstancesIndexed | InstancesReplaced, kind: EventType, trace: Mapping[str, str]
) -> Iterator[Told]:
    """Return an event for each series, sender and trace in a batch."""
    groups: dict[tuple[str, ...], list[IndexedItem]] = {}
    for item in message.items:
        of = (item.study_instance_uid, item.series_instance_uid, item.calling_ae_title)
        groups.setdefault((*of, item.traceparent), []).append(item)
    for key, items in groups.items():
        same = hashlib.sha256("\n".join((message.id, *key)).encode()).hexdigest()[:32]
        parent = items[0].traceparent or trace.get("traceparent", "")
        yield Told(same, kind, message.occurred_at, as_json(_series(items)), parent)


def _series(items: Sequence[IndexedItem]) -> dict[str, Any]:
    first = items[0]
    return {
        "study_instance_uid": first.study_instance_uid,
        "series_instance_uid": first.series_instance_uid,
        "modality": first.modality,
        "calling_ae_title": first.calling_ae_title,
        "instances": [
            {"sop_instance_uid": one.sop_instance_uid, "sop_class_uid": one.sop_class_uid}
            for one in items
        ],
    }
