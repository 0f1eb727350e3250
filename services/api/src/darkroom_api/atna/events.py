"""Which event of DICOM an action is (PS3.15 section A.5.3, PS3.16 CID 400 and 401)."""

from dataclasses import dataclass
from typing import Any, Final

from darkroom_api.audit.actions import Action


@dataclass(frozen=True)
class Code:
    """A coded value."""

    value: str
    meaning: str
    system: str = "DCM"


@dataclass(frozen=True)
class Event:
    """What kind of event it is.

    Attributes:
        event: of CID 400, or our own where DICOM has none.
        action: C, R, U, D or E.
        types: of CID 401.
    """

    event: Code
    action: str = "E"
    types: tuple[Code, ...] = ()


OURS: Final = "99DARKROOM"
AUDIT_LOG_USED: Final = Code("110101", "Audit Log Used")
INSTANCES_ACCESSED: Final = Code("110103", "DICOM Instances Accessed")
INSTANCES_TRANSFERRED: Final = Code("110104", "DICOM Instances Transferred")
STUDY_DELETED: Final = Code("110105", "DICOM Study Deleted")
EXPORT: Final = Code("110106", "Export")
PROCEDURE_RECORD: Final = Code("110111", "Procedure Record")
QUERY: Final = Code("110112", "Query")
SECURITY_ALERT: Final = Code("110113", "Security Alert")
USER_AUTHENTICATION: Final = Code("110114", "User Authentication")
LOGIN: Final = Code("110122", "Login")
LOGOUT: Final = Code("110123", "Logout")
NODE_AUTHENTICATION: Final = Code("110126", "Node Authentication")
ROLES_CHANGED: Final = Code("110136", "Security Roles Changed")
USER_ATTRIBUTES_CHANGED: Final = Code("110137", "User security Attributes Changed")
SOURCE: Final = Code("110153", "Source Role ID")
DESTINATION: Final = Code("110152", "Destination Role ID")
APPLICATION: Final = Code("110150", "Application")
STUDY_UID: Final = Code("110180", "Study Instance UID")

_USER_CHANGED: Final = Event(SECURITY_ALERT, "E", (USER_ATTRIBUTES_CHANGED,))
_LOGIN: Final = Event(USER_AUTHENTICATION, "E", (LOGIN,))
_USED: Final = Event(AUDIT_LOG_USED, "R")
_EVENTS: Final[dict[str, Event]] = {
    Action.AUTH_LOGIN: _LOGIN,
    Action.AUTH_FAILED: _LOGIN,
    Action.AUTH_LOCKED: _LOGIN,
    Action.AUTH_LOGOUT: Event(USER_AUTHENTICATION, "E", (LOGOUT,)),
    Action.SESSION_REUSE: Event(SECURITY_ALERT),
    Action.ACCESS_DENIED: Event(SECURITY_ALERT),
    Action.USER_CREATE: _USER_CHANGED,
    Action.USER_UPDATE: _USER_CHANGED,
    Action.USER_DELETE: _USER_CHANGED,
    Action.PERMISSION_CHANGE: Event(SECURITY_ALERT, "E", (ROLES_CHANGED,)),
    Action.STUDY_READ: Event(INSTANCES_ACCESSED, "R"),
    Action.STUDY_UPDATE: Event(INSTANCES_ACCESSED, "U"),
    Action.BULK_UPDATE: Event(INSTANCES_ACCESSED, "U"),
    Action.STUDY_DELETE: Event(STUDY_DELETED, "D"),
    Action.STUDY_PURGE: Event(STUDY_DELETED, "D"),
    Action.DICOMWEB_DELETE: Event(STUDY_DELETED, "D"),
    Action.DICOMWEB_RETRIEVE: Event(INSTANCES_TRANSFERRED, "R"),
    Action.DICOMWEB_STORE: Event(INSTANCES_TRANSFERRED, "C"),
    Action.DICOMWEB_UPDATE: Event(INSTANCES_ACCESSED, "U"),
    Action.EXPORT_CREATE: Event(EXPORT, "R"),
    Action.EXPORT_DOWNLOAD: Event(EXPORT, "R"),
    Action.STUDY_SEARCH: Event(QUERY),
    Action.DICOMWEB_SEARCH: Event(QUERY),
    Action.REMOTE_QUERY: Event(QUERY),
    Action.WORKLIST_READ: Event(PROCEDURE_RECORD, "R"),
    Action.WORKLIST_UPDATE: Event(PROCEDURE_RECORD, "U"),
    Action.STEP_CREATE: Event(PROCEDURE_RECORD, "C"),
    Action.STEP_UPDATE: Event(PROCEDURE_RECORD, "U"),
    Action.AUDIT_READ: _USED,
    Action.AUDIT_EXPORT: _USED,
    Action.AUDIT_VERIFY: _USED,
}


def event_of(action: str, details: dict[str, Any]) -> Event:
    """Return the event of an action; one that DICOM does not know is an event of our own."""
    if action == Action.DICOM_ASSOCIATION:
        return _association(details)
    known = _EVENTS.get(action)
    if known is not None:
        return known
    return Event(Code(action, action.replace("_", " ").capitalize(), OURS))


def _association(details: dict[str, Any]) -> Event:
    commands = details.get("commands") or {}
    if details.get("result") in ("rejected", "refused"):
        return Event(SECURITY_ALERT, "E", (NODE_AUTHENTICATION,))
    if "C-STORE" in commands:
        return Event(INSTANCES_TRANSFERRED, "C" if details.get("direction") == "in" else "R")
    if "C-FIND" in commands:
        return Event(QUERY)
    return Event(Code(Action.DICOM_ASSOCIATION, "DICOM association", OURS))
