"""The one table of who may call what: every route, REST and DICOMweb alike."""

from typing import Any, Final, get_args

from darkroom_api.accounts.permissions import Access, Open, Permission
from darkroom_api.callbacks.spec import CALLBACKS
from darkroom_api.console.paths import FILES, SCREENS
from darkroom_common.resources.declared import (
    DESTINATIONS,
    INDEXED_TAGS,
    PRINT_RULES,
    PRINTERS,
    RULES,
    SENDERS,
)
from darkroom_common.resources.resource import Resource
from darkroom_common.specs.conflicts import Action

_P: Final = Permission
_CALLBACK: Final = f"{CALLBACKS.path}/{CALLBACKS.in_path}"
_MIGRATION: Final = "/api/v1/migrations/{job}"
_CONFLICT: Final = "/api/v1/conflicts/{conflict}"
_ROLE: Final = "/api/v1/roles/{role}"
_USER: Final = "/api/v1/users/{user_id}"
_QUARANTINED: Final = "/api/v1/quarantine/{quarantine_id}"
_LETTER: Final = "/api/v1/dead-letters/{letter_id}"
_STUDY: Final = "/dicom-web/studies/{study}"
_WORKITEMS: Final = "/dicom-web/workitems"
_WORKITEM: Final = _WORKITEMS + "/{workitem}"
_SERIES: Final = _STUDY + "/series/{series}"
_INSTANCE: Final = _SERIES + "/instances/{instance}"


def _five(resource: Resource[Any]) -> dict[tuple[str, str], Access]:
    """Return the routes of a resource and what they need."""
    one = f"{resource.path}/{resource.in_path}"
    reads, writes = Permission(resource.reads), Permission(resource.writes)
    return {
        ("GET", resource.path): reads,
        ("POST", resource.path): writes,
        ("GET", one): reads,
        ("PUT", one): writes,
        ("DELETE", one): writes,
    }


SHORT: Final = (
    (_INSTANCE, "/dicom-web/instances/{instance}"),
    (_INSTANCE, _STUDY + "/instances/{instance}"),
    (_SERIES, "/dicom-web/series/{series}"),
)
"""Paths of DICOMweb that other archives serve as well: what ours begins with, and theirs."""


def shorter(path: str) -> list[str]:
    """Return the paths that stand for one of DICOMweb, too: without UIDs that others imply."""
    return [short + path.removeprefix(whole) for whole, short in SHORT if path.startswith(whole)]


ACCESS: Final[dict[tuple[str, str], Access]] = {
    **SCREENS,
    **{("GET", path): Open.PUBLIC for path in FILES},
    ("GET", "/livez"): Open.PUBLIC,
    ("GET", "/readyz"): Open.PUBLIC,
    ("GET", "/api/v1/health"): Open.PUBLIC,
    ("GET", "/api/v1/feature-flags"): Open.SIGNED_IN,
    ("GET", "/api/v1/licence"): Open.SIGNED_IN,
    ("GET", "/metrics/{service}"): Open.PUBLIC,  # counts and times, no PHI; the local stack only
    ("GET", "/docs"): Open.PUBLIC,  # SIGNED_IN when OPEN_DOCS is false
    ("GET", "/docs/{asset}"): Open.PUBLIC,
    ("GET", "/openapi.json"): Open.PUBLIC,
    ("POST", "/api/v1/auth/login"): Open.PUBLIC,
    ("POST", "/api/v1/auth/refresh"): Open.PUBLIC,
    ("GET", "/api/v1/auth/oidc/login"): Open.PUBLIC,
    ("GET", "/api/v1/auth/oidc/callback"): Open.PUBLIC,
    ("POST", "/api/v1/auth/logout"): Open.IN_PERSON,
    ("GET", "/api/v1/auth/me"): Open.SIGNED_IN,
    ("POST", "/api/v1/validate"): _P.STUDIES_READ,
    ("POST", "/api/v1/objects/{kind}"): _P.STUDIES_WRITE,
    ("GET", "/api/v1/audit-logs"): _P.AUDIT_READ,
    ("GET", "/api/v1/audit-logs/export"): _P.AUDIT_READ,
    ("POST", "/api/v1/audit-logs/verify"): _P.AUDIT_READ,
    ("POST", "/api/v1/auth/password"): Open.IN_PERSON,
    ("POST", "/api/v1/auth/totp"): Open.IN_PERSON,
    ("POST", "/api/v1/auth/totp/confirm"): Open.IN_PERSON,
    ("DELETE", "/api/v1/auth/totp"): Open.IN_PERSON,
    ("GET", "/api/v1/auth/sessions"): Open.IN_PERSON,
    ("DELETE", "/api/v1/auth/sessions/{session_id}"): Open.IN_PERSON,
    ("GET", "/api/v1/api-keys"): Open.IN_PERSON,
    ("POST", "/api/v1/api-keys"): Open.IN_PERSON,
    ("GET", "/api/v1/api-keys/{key_id}"): Open.IN_PERSON,
    ("POST", "/api/v1/api-keys/{key_id}/rotate"): Open.IN_PERSON,
    ("DELETE", "/api/v1/api-keys/{key_id}"): Open.IN_PERSON,
    ("GET", "/api/v1/users"): _P.USERS_READ,
    ("POST", "/api/v1/users"): _P.USERS_WRITE,
    ("GET", _USER): _P.USERS_READ,
    ("PATCH", _USER): _P.USERS_WRITE,
    ("DELETE", _USER): _P.USERS_WRITE,
    ("DELETE", _USER + "/totp"): _P.USERS_WRITE,
    ("GET", _USER + "/sessions"): _P.USERS_READ,
    ("DELETE", _USER + "/sessions"): _P.USERS_WRITE,
    ("DELETE", _USER + "/sessions/{session_id}"): _P.USERS_WRITE,
    ("GET", "/api/v1/permissions"): _P.USERS_READ,
    ("GET", "/api/v1/roles"): _P.USERS_READ,
    ("POST", "/api/v1/roles"): _P.USERS_WRITE,
    ("GET", _ROLE): _P.USERS_READ,
    ("PATCH", _ROLE): _P.USERS_WRITE,
    ("DELETE", _ROLE): _P.USERS_WRITE,
    ("GET", "/api/v1/studies"): _P.STUDIES_READ,
    ("GET", "/api/v1/studies/search"): _P.STUDIES_READ,
    ("GET", "/api/v1/studies/filters"): _P.STUDIES_READ,
    ("GET", "/api/v1/studies/{exam_id:path}"): _P.STUDIES_READ,
    ("PATCH", "/api/v1/studies/{exam_id:path}"): _P.STUDIES_WRITE,
    ("DELETE", "/api/v1/studies/{exam_id:path}"): _P.STUDIES_DELETE,
    ("GET", "/api/v1/study-removals"): _P.STUDIES_DELETE,
    ("GET", "/api/v1/study-removals/{job}"): _P.STUDIES_DELETE,
    ("POST", "/api/v1/study-removals/{job}/restore"): _P.STUDIES_DELETE,
    ("POST", "/api/v1/study-removals/{job}/cancel"): _P.STUDIES_DELETE,
    ("POST", "/api/v1/studies/{exam_id:path}/recall"): _P.STUDIES_WRITE,
    ("GET", "/api/v1/study-recalls"): _P.STUDIES_READ,
    ("GET", "/api/v1/study-recalls/{job}"): _P.STUDIES_READ,
    ("POST", "/api/v1/study-recalls/{job}/cancel"): _P.STUDIES_WRITE,
    ("GET", "/api/v1/legal-holds"): _P.STUDIES_DELETE,
    ("POST", "/api/v1/legal-holds"): _P.STUDIES_DELETE,
    ("DELETE", "/api/v1/legal-holds/{study}"): _P.STUDIES_DELETE,
    ("GET", "/api/v1/patient-holds"): _P.STUDIES_DELETE,
    ("POST", "/api/v1/patient-holds"): _P.STUDIES_DELETE,
    ("DELETE", "/api/v1/patient-holds/{hold}"): _P.STUDIES_DELETE,
    ("POST", "/api/v1/patients/export"): _P.PERSONS_WRITE,
    ("POST", "/api/v1/patients/erase"): _P.PERSONS_WRITE,
    ("GET", "/api/v1/erasures"): _P.PERSONS_WRITE,
    ("GET", "/api/v1/erasures/{erasure}"): _P.PERSONS_WRITE,
    ("GET", "/api/v1/erasures/{erasure}/certificate"): _P.PERSONS_WRITE,
    ("GET", "/api/v1/retention"): _P.STUDIES_DELETE,
    ("GET", "/api/v1/retention/plan"): _P.STUDIES_DELETE,
    ("GET", "/api/v1/retention/runs"): _P.STUDIES_DELETE,
    ("POST", "/api/v1/patients/merge"): _P.STUDIES_WRITE,
    ("POST", "/api/v1/patients/move"): _P.STUDIES_WRITE,
    ("POST", "/api/v1/patients/split"): _P.STUDIES_WRITE,
    ("GET", "/api/v1/study-edits"): _P.STUDIES_READ,
    ("GET", "/api/v1/study-edits/{job}"): _P.STUDIES_READ,
    ("POST", "/api/v1/study-edits/{job}/cancel"): _P.STUDIES_WRITE,
    ("POST", "/api/v1/studies/export"): _P.EXPORTS_CREATE,
    ("POST", "/api/v1/studies/bulk/update-status"): _P.BULK_UPDATE,
    ("POST", "/api/v1/studies/bulk/assign-physician"): _P.BULK_ASSIGN,
    ("GET", "/api/v1/bulk/jobs"): Open.SIGNED_IN,  # one's own, as the next
    ("GET", "/api/v1/bulk/jobs/{job}"): Open.SIGNED_IN,
    # Whose they are, and who else may see them, the routes know: others get 404.
    ("GET", "/api/v1/exports"): Open.SIGNED_IN,
    ("GET", "/api/v1/exports/{job}/status"): Open.SIGNED_IN,
    ("GET", "/api/v1/exports/{job}/download"): Open.SIGNED_IN,
    ("DELETE", "/api/v1/exports/{job}"): Open.SIGNED_IN,
    **_five(DESTINATIONS),
    **_five(RULES),
    **_five(PRINTERS),
    **_five(PRINT_RULES),
    **_five(SENDERS),
    **_five(INDEXED_TAGS),
    **_five(CALLBACKS),
    ("POST", _CALLBACK + "/rotate-secret"): _P.CALLBACKS_WRITE,
    ("POST", _CALLBACK + "/enable"): _P.CALLBACKS_WRITE,
    ("POST", _CALLBACK + "/test"): _P.CALLBACKS_WRITE,
    ("POST", _CALLBACK + "/replay"): _P.CALLBACKS_WRITE,
    ("GET", _CALLBACK + "/deliveries"): _P.CALLBACKS_READ,
    ("GET", _CALLBACK + "/deliveries/{delivery}"): _P.CALLBACKS_READ,
    ("POST", _CALLBACK + "/deliveries/{delivery}/replay"): _P.CALLBACKS_WRITE,
    ("GET", "/api/v1/event-types"): Open.SIGNED_IN,
    ("GET", "/api/v1/events"): Open.SIGNED_IN,  # each type of event has its own permission
    ("GET", "/api/v1/tag-jobs"): _P.TAGS_READ,
    ("GET", "/api/v1/tag-jobs/{job}"): _P.TAGS_READ,
    **{
        ("POST", f"/api/v1/tag-jobs/{{job}}/{act}"): _P.TAGS_WRITE
        for act in ("retry", "cancel", "pause", "resume")
    },
    ("POST", "/api/v1/destinations/{name}/echo"): _P.DESTINATIONS_READ,
    ("POST", "/api/v1/rules/dry-run"): _P.DESTINATIONS_WRITE,
    ("GET", "/api/v1/transmit/jobs"): _P.TRANSMIT_READ,
    ("POST", "/api/v1/transmit/jobs"): _P.TRANSMIT_SEND,
    ("GET", "/api/v1/transmit/jobs/{job}"): _P.TRANSMIT_READ,
    ("GET", "/api/v1/transmit/jobs/{job}/instances"): _P.TRANSMIT_READ,
    ("POST", "/api/v1/transmit/jobs/{job}/retry"): _P.TRANSMIT_SEND,
    ("POST", "/api/v1/transmit/jobs/{job}/cancel"): _P.TRANSMIT_SEND,
    ("GET", "/api/v1/printer-quirks"): _P.PRINTERS_READ,
    ("POST", "/api/v1/printers/{name}/status"): _P.PRINTERS_READ,
    ("GET", "/api/v1/print/jobs"): _P.PRINT_READ,
    ("POST", "/api/v1/print/jobs"): _P.PRINT_SEND,
    ("GET", "/api/v1/print/jobs/{job}"): _P.PRINT_READ,
    ("GET", "/api/v1/print/jobs/{job}/films/{film}"): _P.PRINT_READ,
    ("POST", "/api/v1/print/jobs/{job}/retry"): _P.PRINT_SEND,
    ("POST", "/api/v1/print/jobs/{job}/cancel"): _P.PRINT_SEND,
    ("POST", "/api/v1/print/jobs/{job}/confirm"): _P.PRINT_SEND,
    ("POST", "/api/v1/print/jobs/{job}/reprint"): _P.PRINT_SEND,
    ("POST", "/api/v1/print/preview"): _P.PRINT_SEND,
    ("POST", "/api/v1/remote/{name}/query"): _P.REMOTE_QUERY,
    ("POST", "/api/v1/worklist/query"): _P.REMOTE_QUERY,
    ("GET", "/api/v1/worklist"): _P.STEPS_READ,
    ("POST", "/api/v1/worklist"): _P.STEPS_WRITE,
    ("GET", "/api/v1/worklist/{entry}"): _P.STEPS_READ,
    ("PUT", "/api/v1/worklist/{entry}"): _P.STEPS_WRITE,
    ("DELETE", "/api/v1/worklist/{entry}"): _P.STEPS_WRITE,
    ("GET", "/api/v1/performed-steps"): _P.STEPS_READ,
    ("GET", "/api/v1/performed-steps/{step}"): _P.STEPS_READ,
    ("GET", "/api/v1/mpps"): _P.STEPS_READ,
    ("POST", "/api/v1/mpps"): _P.STEPS_WRITE,
    ("GET", "/api/v1/mpps/{step}"): _P.STEPS_READ,
    ("PATCH", "/api/v1/mpps/{step}"): _P.STEPS_WRITE,
    ("PUT", "/api/v1/mpps/{step}"): _P.STEPS_WRITE,
    ("POST", "/api/v1/remote/{name}/retrieve"): _P.REMOTE_RETRIEVE,
    ("GET", "/api/v1/retrieve/jobs"): _P.REMOTE_QUERY,
    ("GET", "/api/v1/retrieve/jobs/{job}"): _P.REMOTE_QUERY,
    ("POST", "/api/v1/retrieve/jobs/{job}/retry"): _P.REMOTE_RETRIEVE,
    ("POST", "/api/v1/retrieve/jobs/{job}/cancel"): _P.REMOTE_RETRIEVE,
    ("GET", "/api/v1/migrations"): _P.REMOTE_QUERY,
    ("POST", "/api/v1/migrations"): _P.DESTINATIONS_WRITE,
    ("GET", _MIGRATION): _P.REMOTE_QUERY,
    ("POST", _MIGRATION + "/first"): _P.REMOTE_RETRIEVE,
    ("GET", _MIGRATION + "/report.csv"): _P.REMOTE_QUERY,
    ("GET", _MIGRATION + "/report.pdf"): _P.REMOTE_QUERY,
    **{
        ("POST", f"{_MIGRATION}/{act}"): _P.DESTINATIONS_WRITE
        for act in ("retry", "cancel", "pause", "resume")
    },
    ("GET", "/api/v1/conflicts"): _P.CONFLICTS_READ,
    ("GET", _CONFLICT): _P.CONFLICTS_READ,  # what identifies a patient: also studies:read
    ("GET", _CONFLICT + "/object"): _P.STUDIES_READ,
    **{("POST", f"{_CONFLICT}/{action}"): _P.CONFLICTS_WRITE for action in get_args(Action)},
    ("GET", "/api/v1/conflict-decisions"): _P.CONFLICTS_READ,
    ("GET", "/api/v1/conflict-decisions/{job}"): _P.CONFLICTS_READ,
    ("POST", "/api/v1/conflict-decisions/{job}/cancel"): _P.CONFLICTS_WRITE,
    ("GET", "/api/v1/verification"): _P.VERIFICATION_READ,
    ("GET", "/api/v1/verification/tiers"): _P.VERIFICATION_READ,
    ("GET", "/api/v1/verification/findings"): _P.VERIFICATION_READ,
    ("GET", "/api/v1/replication"): _P.VERIFICATION_READ,
    ("GET", "/api/v1/replication/outcomes"): _P.VERIFICATION_READ,
    ("GET", "/api/v1/settings"): _P.SETTINGS_READ,
    ("GET", "/api/v1/system"): _P.SETTINGS_READ,
    ("GET", "/api/v1/system/conformance"): _P.SETTINGS_READ,
    ("GET", "/api/v1/reports/errors"): _P.AUDIT_READ,
    ("GET", "/api/v1/quarantine"): _P.QUARANTINE_READ,
    ("GET", _QUARANTINED): _P.QUARANTINE_READ,
    ("POST", _QUARANTINED + "/release"): _P.QUARANTINE_WRITE,
    ("POST", _QUARANTINED + "/discard"): _P.QUARANTINE_WRITE,
    ("GET", "/api/v1/dead-letters"): _P.DEAD_LETTERS_READ,
    ("GET", _LETTER): _P.DEAD_LETTERS_READ,
    ("POST", _LETTER + "/replay"): _P.DEAD_LETTERS_WRITE,
    ("POST", _LETTER + "/discard"): _P.DEAD_LETTERS_WRITE,
    ("OPTIONS", "/dicom-web"): Open.PUBLIC,  # SIGNED_IN when OPEN_DOCS is false, as the next
    ("OPTIONS", "/dicom-web/"): Open.PUBLIC,
    # QIDO-RS
    ("GET", "/dicom-web/patients"): _P.STUDIES_READ,
    ("GET", "/dicom-web/studies"): _P.STUDIES_READ,
    ("GET", "/dicom-web/series"): _P.STUDIES_READ,
    ("GET", "/dicom-web/instances"): _P.STUDIES_READ,
    ("GET", _STUDY + "/series"): _P.STUDIES_READ,
    ("GET", _STUDY + "/instances"): _P.STUDIES_READ,
    ("GET", _SERIES + "/instances"): _P.STUDIES_READ,
    ("GET", "/dicom-web/wado"): _P.STUDIES_READ,
    # STOW-RS
    ("POST", "/dicom-web/studies"): _P.STUDIES_WRITE,
    ("POST", _STUDY): _P.STUDIES_WRITE,
    ("PUT", _STUDY): _P.STUDIES_WRITE,
    ("PATCH", _STUDY): _P.STUDIES_WRITE,
    **{("DELETE", path): _P.STUDIES_DELETE for path in (_STUDY, _SERIES, _INSTANCE)},
    # UPS-RS
    ("GET", _WORKITEMS): _P.STEPS_READ,
    ("POST", _WORKITEMS): _P.STEPS_WRITE,
    ("GET", _WORKITEM): _P.STEPS_READ,
    ("POST", _WORKITEM): _P.STEPS_WRITE,
    **{
        (method, f"{_WORKITEM}/{what}{ae_title}"): _P.STEPS_WRITE
        for method, what in (("PUT", "state"), ("POST", "cancelrequest"))
        for ae_title in ("", "/{ae_title}")
    },
    ("POST", _WORKITEM + "/subscribers/{ae_title}"): _P.STEPS_WRITE,
    ("DELETE", _WORKITEM + "/subscribers/{ae_title}"): _P.STEPS_WRITE,
    ("POST", _WORKITEM + "/subscribers/{ae_title}/suspend"): _P.STEPS_WRITE,
    ("GET", "/dicom-web/subscribers/{ae_title}"): _P.STEPS_READ,
    # WADO-RS
    ("GET", _STUDY): _P.STUDIES_READ,
    ("GET", _STUDY + "/metadata"): _P.STUDIES_READ,
    ("GET", _SERIES): _P.STUDIES_READ,
    ("GET", _SERIES + "/metadata"): _P.STUDIES_READ,
    ("GET", _INSTANCE): _P.STUDIES_READ,
    **{
        ("GET", f"{path}/{what}"): _P.STUDIES_READ
        for path in (_STUDY, _SERIES, _INSTANCE, _INSTANCE + "/frames/{frames}")
        for what in ("rendered", "thumbnail")
    },
    ("GET", _INSTANCE + "/metadata"): _P.STUDIES_READ,
    ("GET", _INSTANCE + "/pixeldata"): _P.STUDIES_READ,
    ("GET", _STUDY + "/pixeldata"): _P.STUDIES_READ,
    ("GET", _SERIES + "/pixeldata"): _P.STUDIES_READ,
    **{("GET", f"{path}/bulkdata"): _P.STUDIES_READ for path in (_STUDY, _SERIES, _INSTANCE)},
    ("GET", _INSTANCE + "/frames/{frames}"): _P.STUDIES_READ,
    ("GET", _INSTANCE + "/bulkdata/{path:path}"): _P.STUDIES_READ,
}
"""Every route. One that is missing here keeps the service from starting."""

ACCESS.update(
    {
        (method, short): access
        for (method, path), access in tuple(ACCESS.items())
        if method == "GET"
        for short in shorter(path)
    }
)

DOCUMENTATION: Final = frozenset(
    {"/docs", "/docs/{asset}", "/openapi.json", "/dicom-web", "/dicom-web/"}
)


def access_of(method: str, path: str, *, open_docs: bool) -> Access | None:
    """Return what a route needs; None for a route that the table does not know."""
    access = ACCESS.get((method, path))
    if access is Open.PUBLIC and path in DOCUMENTATION and not open_docs:
        return Open.SIGNED_IN
    return access
