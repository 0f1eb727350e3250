"""Every message type, by name. A type that is not here is refused, never guessed."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from darkroom_common.messages.base import InvalidMessage, Message
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
from darkroom_common.messages.earlier import EARLIER
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
from darkroom_common.messages.repairs import InstanceRepaired
from darkroom_common.messages.requests import (
    INGEST_REQUESTS,
    METADATA_REQUESTS,
    PRINT_REQUESTS,
    REMOTE_REQUESTS,
    TRANSMIT_REQUESTS,
)
from darkroom_common.messages.resources import DELETE, PUT

_LISTED: Final[tuple[type[Message], ...]] = (
    InstancesStored,
    InstanceQuarantined,
    InstancesIndexed,
    InstancesReplaced,
    InstanceConflicted,
    ConflictOpened,
    ConflictResolved,
    InstanceDamaged,
    InstanceRepaired,
    StudyCompleted,
    StudyStatusChanged,
    SendObjects,
    PrintFilm,
    RetrieveFromRemote,
    StartMigration,
    DeleteStudy,
    ChangeStudyStatus,
    ResolveConflict,
    EditStudies,
    RecallStudy,
    RemovePart,
    RemoveStudy,
    ValidateLicence,
    TransmitJobChanged,
    PrintJobChanged,
    JobChanged,
    NodeStateChanged,
    CommandRefused,
    LicenceChecked,
    AssociationsEnded,
    StudyRemoved,
    SettingsInForce,
    ProcedureStepChanged,
    WorklistChanged,
    StudyOrdered,
    *TRANSMIT_REQUESTS,
    *INGEST_REQUESTS,
    *METADATA_REQUESTS,
    *PRINT_REQUESTS,
    *REMOTE_REQUESTS,
    *PUT.values(),
    *DELETE.values(),
)
MESSAGE_TYPES: Final[Mapping[str, type[Message]]] = MappingProxyType(
    {cls.TYPE: cls for cls in _LISTED}
)


def decode(message_type: str | None, body: bytes) -> Message:
    """Return the message that `body` holds.

    Raises:
        InvalidMessage: the type is unknown, or the body does not fit it.
    """
    earlier = EARLIER.get(message_type or "")
    if earlier is not None:
        return earlier(body)
    cls = MESSAGE_TYPES.get(message_type or "")
    if cls is None:
        raise InvalidMessage(f"unknown message type {(message_type or '(none)')[:64]!r}")
    return cls.from_body(body)
