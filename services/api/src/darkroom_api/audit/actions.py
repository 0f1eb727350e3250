"""What is audited, by the words of 002 section 3.4 and of this house."""

from enum import StrEnum
from typing import Final


class Action(StrEnum):
    """What was done, or tried. The value is what `GET /audit-logs?action=` takes."""

    # The twelve of 002.
    AUTH_LOGIN = "AUTH_LOGIN"
    AUTH_LOGOUT = "AUTH_LOGOUT"
    AUTH_FAILED = "AUTH_FAILED"
    STUDY_READ = "STUDY_READ"
    STUDY_UPDATE = "STUDY_UPDATE"
    STUDY_DELETE = "STUDY_DELETE"
    EXPORT_CREATE = "EXPORT_CREATE"
    BULK_UPDATE = "BULK_UPDATE"
    USER_CREATE = "USER_CREATE"
    USER_UPDATE = "USER_UPDATE"
    USER_DELETE = "USER_DELETE"
    PERMISSION_CHANGE = "PERMISSION_CHANGE"
    # People and programs.
    AUTH_LOCKED = "AUTH_LOCKED"  # too many failures under a name
    SESSION_REUSE = "SESSION_REUSE"  # a refresh token came twice: its family has ended
    ACCESS_DENIED = "ACCESS_DENIED"  # signed in, but without the permission
    # Patient data.
    STUDY_SEARCH = "STUDY_SEARCH"
    STUDY_VALIDATE = "STUDY_VALIDATE"
    OBJECT_CREATE = "OBJECT_CREATE"  # of a picture or a document that was uploaded
    EXPORT_DOWNLOAD = "EXPORT_DOWNLOAD"
    EXPORT_DELETE = "EXPORT_DELETE"
    REMOTE_QUERY = "REMOTE_QUERY"  # another archive or a worklist was asked
    WORKLIST_READ = "WORKLIST_READ"  # scheduled or performed steps were shown
    WORKLIST_UPDATE = "WORKLIST_UPDATE"
    STEP_CREATE = "STEP_CREATE"  # MPPS
    STEP_UPDATE = "STEP_UPDATE"
    JOB_CREATE = "JOB_CREATE"  # sending, retrieving, printing
    JOB_UPDATE = "JOB_UPDATE"  # retried, cancelled, confirmed
    STUDY_PURGE = "STUDY_PURGE"  # what was left of a deleted study has gone for good
    OBJECT_REPAIR = "OBJECT_REPAIR"  # a damaged object was copied from the second store
    CONFLICT_DECIDE = "CONFLICT_DECIDE"
    # The operator's desk and what is set up.
    RESOURCE_CREATE = "RESOURCE_CREATE"  # a destination, printer, rule or sender
    RESOURCE_UPDATE = "RESOURCE_UPDATE"
    RESOURCE_DELETE = "RESOURCE_DELETE"
    SETTING_CHANGE = "SETTING_CHANGE"  # a service has started with other ones than before
    QUARANTINE_READ = "QUARANTINE_READ"
    QUARANTINE_RELEASE = "QUARANTINE_RELEASE"
    QUARANTINE_DISCARD = "QUARANTINE_DISCARD"
    DEAD_LETTER_READ = "DEAD_LETTER_READ"
    DEAD_LETTER_REPLAY = "DEAD_LETTER_REPLAY"
    DEAD_LETTER_DISCARD = "DEAD_LETTER_DISCARD"
    REPORT_READ = "REPORT_READ"
    # The audit itself.
    AUDIT_READ = "AUDIT_READ"
    AUDIT_EXPORT = "AUDIT_EXPORT"
    AUDIT_VERIFY = "AUDIT_VERIFY"
    AUDIT_EXPIRE = "AUDIT_EXPIRE"  # rows past their retention were removed
    # DICOM.
    DICOM_ASSOCIATION = "DICOM_ASSOCIATION"  # one that was opened to us, or by us
    DICOMWEB_SEARCH = "DICOMWEB_SEARCH"
    DICOMWEB_RETRIEVE = "DICOMWEB_RETRIEVE"
    DICOMWEB_STORE = "DICOMWEB_STORE"
    DICOMWEB_DELETE = "DICOMWEB_DELETE"
    DICOMWEB_UPDATE = "DICOMWEB_UPDATE"


SECURITY: Final = frozenset(
    {
        Action.AUTH_FAILED,
        Action.AUTH_LOCKED,
        Action.SESSION_REUSE,
        Action.ACCESS_DENIED,
        Action.USER_CREATE,
        Action.USER_UPDATE,
        Action.USER_DELETE,
        Action.PERMISSION_CHANGE,
    }
)
"""What is also told to the log of security events (OBS-08)."""
PRIVILEGED: Final = frozenset(
    {
        Action.STUDY_DELETE,
        Action.STUDY_PURGE,
        Action.USER_CREATE,
        Action.USER_UPDATE,
        Action.USER_DELETE,
        Action.PERMISSION_CHANGE,
        Action.RESOURCE_CREATE,
        Action.RESOURCE_UPDATE,
        Action.RESOURCE_DELETE,
        Action.SETTING_CHANGE,
        Action.QUARANTINE_READ,
        Action.QUARANTINE_RELEASE,
        Action.QUARANTINE_DISCARD,
        Action.DEAD_LETTER_READ,
        Action.DEAD_LETTER_REPLAY,
        Action.DEAD_LETTER_DISCARD,
        Action.AUDIT_READ,
        Action.AUDIT_EXPORT,
        Action.AUDIT_VERIFY,
    }
)
"""What only administrators and operators do: marked, whoever did it. So is all that somebody does
who may do everything."""
