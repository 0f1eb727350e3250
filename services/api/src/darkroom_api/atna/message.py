"""A row of the audit log as an audit message: the XML of PS3.15 section A.5.1 in a line of syslog.

Nothing that identifies a patient is in it, since the repository is another system: a study is
named by its UID.
"""

import base64
import datetime as dt
import json
import re
from dataclasses import dataclass
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement, tostring

from darkroom_api.atna.events import (
    APPLICATION,
    DESTINATION,
    INSTANCES_TRANSFERRED,
    OURS,
    SOURCE,
    STUDY_UID,
    Code,
    event_of,
)
from darkroom_api.audit.entries import Row

_NO_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NO_HEADER: Final = re.compile(r"[^\x21-\x7e]")
_SECURITY: Final = 10 << 3
"""Facility "security/authorization messages", RFC 5424 section 6.2.1."""
_WARNING: Final = 4
_NOTICE: Final = 5
_MESSAGE_ID: Final = "DICOM+RFC3881"
"""PS3.15 section A.6."""
_OUTCOMES: Final = {"failure": "failed", "asked": "asked, not answered yet"}
_NAME, _ADDRESS = "1", "2"
_PERSON, _SYSTEM, _OTHER = "1", "2", "4"
_USER, _REPORT, _SECURITY_RESOURCE, _JOB = "11", "3", "13", "20"
_ROLES: Final = {
    "study": (_SYSTEM, _REPORT),
    "user": (_PERSON, _USER),
    "audit": (_SYSTEM, _SECURITY_RESOURCE),
}


@dataclass(frozen=True)
class Source:
    """Who says it.

    Attributes:
        name: of this installation, for `AuditSourceID`.
        host: of this machine.
        process: id of this process.
    """

    name: str
    host: str
    process: str


def audit_message(row: Row, source: Source) -> bytes:
    """Return the XML document of a row."""
    details: Any = json.loads(row.details)
    details = details if isinstance(details, dict) else {}
    found = event_of(row.action, details)
    failed = row.outcome == "failure"
    message = Element("AuditMessage")
    event = SubElement(
        message,
        "EventIdentification",
        EventActionCode=found.action,
        EventDateTime=_time(row.recorded_at),
        EventOutcomeIndicator="4" if failed else "0",
    )
    _code(event, "EventID", found.event)
    for one in (*found.types, Code(row.action, row.action, OURS)):
        _code(event, "EventTypeCode", one)
    if row.outcome != "success":
        said = details.get("reason", _OUTCOMES[row.outcome])
        SubElement(event, "EventOutcomeDescription").text = _text(said)
    outward = found.action == "R"
    ours, theirs = APPLICATION, None
    if found.event == INSTANCES_TRANSFERRED:
        ours, theirs = (SOURCE, DESTINATION) if outward else (DESTINATION, SOURCE)
    we_began = details.get("direction") == "out"
    _who(message, row, source, theirs).set("UserIsRequestor", "false" if we_began else "true")
    _us(message, source, ours).set("UserIsRequestor", "true" if we_began else "false")
    said = SubElement(message, "AuditSourceIdentification", AuditSourceID=_text(source.name))
    SubElement(
        said,
        "AuditSourceTypeCode",
        {"csd-code": "4", "codeSystemName": "DCM", "originalText": "Application Server"},
    )
    _object(message, row)
    document: bytes = tostring(message, encoding="utf-8")
    return b'<?xml version="1.0" encoding="UTF-8"?>' + document


def _who(message: Element, row: Row, source: Source, role: Code | None) -> Element:
    """Add who did it, or the other node."""
    made = SubElement(
        message,
        "ActiveParticipant",
        UserID=_text(row.user_id or row.username or source.name),
        UserName=_text(row.username),
    )
    if row.ip_address is not None:
        made.set("NetworkAccessPointID", str(row.ip_address))
        made.set("NetworkAccessPointTypeCode", _ADDRESS)
    if role is not None:
        _code(made, "RoleIDCode", role)
    return made


def _us(message: Element, source: Source, role: Code) -> Element:
    """Add ourselves."""
    made = SubElement(
        message,
        "ActiveParticipant",
        UserID=_text(source.name),
        AlternativeUserID=_text(source.process),
        NetworkAccessPointID=_text(source.host),
        NetworkAccessPointTypeCode=_NAME,
    )
    _code(made, "RoleIDCode", role)
    return made


def _object(message: Element, row: Row) -> None:
    if not row.resource_id:
        return
    kind, role = _ROLES.get(row.resource_type, (_OTHER, _JOB))
    found = SubElement(
        message,
        "ParticipantObjectIdentification",
        ParticipantObjectID=_text(row.resource_id),
        ParticipantObjectTypeCode=kind,
        ParticipantObjectTypeCodeRole=role,
    )
    name = row.resource_type or "other"
    _code(
        found,
        "ParticipantObjectIDTypeCode",
        STUDY_UID if row.resource_type == "study" else Code(name, name, OURS),
    )
    SubElement(
        found,
        "ParticipantObjectDetail",
        type="details",
        value=base64.b64encode(row.details.encode()).decode(),
    )


def _code(parent: Element, name: str, code: Code) -> None:
    SubElement(
        parent,
        name,
        {
            "csd-code": _text(code.value),
            "codeSystemName": code.system,
            "originalText": _text(code.meaning),
        },
    )


def _text(value: object) -> str:
    return _NO_XML.sub("\ufffd", str(value))


def _time(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def frame(row: Row, source: Source) -> bytes:
    """Return a row as a message of syslog (RFC 5424) with its length before it (RFC 5425)."""
    severity = _WARNING if row.outcome == "failure" else _NOTICE
    header = (
        f"<{_SECURITY | severity}>1 {_time(row.recorded_at)} {_word(source.host, 255)}"
        f" {_word(source.name, 48)} {_word(source.process, 128)} {_MESSAGE_ID} - \ufeff"
    )
    message = header.encode() + audit_message(row, source)
    return str(len(message)).encode() + b" " + message


def _word(text: str, most: int) -> str:
    return _NO_HEADER.sub("", text)[:most] or "-"
