"""Permissions, and the built-in roles that have them (002 section 3.2.1)."""

from collections.abc import Iterable
from enum import Enum, StrEnum
from typing import Final


class Permission(StrEnum):
    """What somebody may do."""

    STUDIES_READ = "studies:read"
    STUDIES_WRITE = "studies:write"
    STUDIES_DELETE = "studies:delete"
    EXPORTS_CREATE = "exports:create"
    EXPORTS_DOWNLOAD = "exports:download"
    BULK_UPDATE = "bulk:update"
    BULK_ASSIGN = "bulk:assign"
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    AUDIT_READ = "audit:read"
    DESTINATIONS_READ = "destinations:read"
    DESTINATIONS_WRITE = "destinations:write"
    TRANSMIT_READ = "transmit:read"
    TRANSMIT_SEND = "transmit:send"
    PRINTERS_READ = "printers:read"
    PRINTERS_WRITE = "printers:write"
    SENDERS_READ = "senders:read"
    SENDERS_WRITE = "senders:write"
    PRINT_READ = "print:read"
    PRINT_SEND = "print:send"
    REMOTE_QUERY = "remote:query"
    REMOTE_RETRIEVE = "remote:retrieve"
    STEPS_READ = "mpps:read"
    STEPS_WRITE = "mpps:write"
    CONFLICTS_READ = "conflicts:read"
    CONFLICTS_WRITE = "conflicts:write"
    QUARANTINE_READ = "quarantine:read"
    QUARANTINE_WRITE = "quarantine:write"
    DEAD_LETTERS_READ = "dead_letters:read"
    DEAD_LETTERS_WRITE = "dead_letters:write"
    VERIFICATION_READ = "verification:read"
    SETTINGS_READ = "settings:read"
    TAGS_READ = "tags:read"
    TAGS_WRITE = "tags:write"
    CALLBACKS_READ = "callbacks:read"
    CALLBACKS_WRITE = "callbacks:write"
    PERSONS_WRITE = "persons:write"  # all of one person, as a file or gone: of administrators


class Open(Enum):
    """Routes that need no permission."""

    PUBLIC = "anybody"
    SIGNED_IN = "anybody with a valid access token or API key"
    IN_PERSON = "anybody with a valid access token"


Access = Permission | Open

EVERYTHING: Final = "*"
_P: Final = Permission

ROLES: Final[dict[str, frozenset[str]]] = {
    "system_admin": frozenset({EVERYTHING}),
    "medical_admin": frozenset(
        {
            _P.STUDIES_READ,
            _P.STUDIES_WRITE,
            _P.STUDIES_DELETE,
            _P.EXPORTS_CREATE,
            _P.EXPORTS_DOWNLOAD,
            _P.BULK_UPDATE,
            _P.BULK_ASSIGN,
            _P.USERS_READ,
            _P.USERS_WRITE,
            _P.AUDIT_READ,
            _P.DESTINATIONS_READ,
            _P.DESTINATIONS_WRITE,
            _P.TRANSMIT_READ,
            _P.TRANSMIT_SEND,
            _P.PRINTERS_READ,
            _P.PRINTERS_WRITE,
            _P.SENDERS_READ,
            _P.SENDERS_WRITE,
            _P.PRINT_READ,
            _P.PRINT_SEND,
            _P.REMOTE_QUERY,
            _P.REMOTE_RETRIEVE,
            _P.STEPS_READ,
            _P.STEPS_WRITE,
            _P.CONFLICTS_READ,
            _P.CONFLICTS_WRITE,
            _P.QUARANTINE_READ,
            _P.QUARANTINE_WRITE,
            _P.DEAD_LETTERS_READ,
            _P.DEAD_LETTERS_WRITE,
            _P.VERIFICATION_READ,
            _P.SETTINGS_READ,
            _P.TAGS_READ,
            _P.TAGS_WRITE,
            _P.CALLBACKS_READ,
            _P.CALLBACKS_WRITE,
        }
    ),
    "radiologist": frozenset(
        {
            _P.STUDIES_READ,
            _P.STUDIES_WRITE,
            _P.EXPORTS_CREATE,
            _P.EXPORTS_DOWNLOAD,
            _P.BULK_ASSIGN,
            _P.DESTINATIONS_READ,
            _P.TRANSMIT_READ,
            _P.TRANSMIT_SEND,
            _P.PRINTERS_READ,
            _P.PRINT_READ,
            _P.PRINT_SEND,
            _P.REMOTE_QUERY,
            _P.REMOTE_RETRIEVE,
            _P.STEPS_READ,
            _P.STEPS_WRITE,
            _P.CONFLICTS_READ,
        }
    ),
    # Makes and corrects studies, and prints; sends nothing out of the house.
    "technician": frozenset(
        {
            _P.STUDIES_READ,
            _P.STUDIES_WRITE,
            _P.DESTINATIONS_READ,
            _P.TRANSMIT_READ,
            _P.PRINTERS_READ,
            _P.PRINT_READ,
            _P.PRINT_SEND,
            _P.REMOTE_QUERY,
            _P.STEPS_READ,
            _P.STEPS_WRITE,
            _P.CONFLICTS_READ,
        }
    ),
    "viewer": frozenset({_P.STUDIES_READ, _P.EXPORTS_DOWNLOAD}),
}
"""The built-in roles; the migrations of schema `api` hold the same, and a test compares."""


def allows(access: Access, permissions: frozenset[str]) -> bool:
    """Tell whether somebody who is signed in may call a route."""
    return isinstance(access, Open) or has(access.value, permissions)


def has(permission: str, permissions: frozenset[str]) -> bool:
    """Tell whether some permissions include one; `studies:*` is every action on studies."""
    resource = permission.partition(":")[0]
    return not permissions.isdisjoint({EVERYTHING, f"{resource}:{EVERYTHING}", permission})


def common(one: frozenset[str], other: frozenset[str]) -> frozenset[str]:
    """Return what two sets of permissions both allow."""
    return frozenset({p for p in Permission if has(p, one) and has(p, other)})


def exceeding(wanted: Iterable[str], held: frozenset[str]) -> list[str]:
    """Return which permissions go beyond those that somebody has, in order.

    A wildcard counts as what it allows now and later: one has it only by a wildcard.
    """
    return sorted({one for one in wanted if not has(one, held)})


def is_permission(text: str) -> bool:
    """Tell whether a text names a permission, or all of a resource, or `*`."""
    resources = {one.partition(":")[0] for one in Permission}
    known = {EVERYTHING, *Permission, *(f"{one}:{EVERYTHING}" for one in resources)}
    return text in known
