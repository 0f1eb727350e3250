"""The paths of the console and what they need, for the one table of `accounts/access.py`.

A page needs what the REST routes behind it need, which are asked with the person's own rights: this
table keeps from offering what would be refused.
"""

from typing import Final

from darkroom_api.accounts.permissions import Access, Open, Permission

_P: Final = Permission
_STUDY: Final = "/study/{study}"

FILES: Final = ("/", "/sign-in", "/assets/{name}", "/viewer", "/viewer/{path:path}")
"""What holds nothing of anybody: anybody may have it, as often as they like."""
SCREENS: Final[dict[tuple[str, str], Access]] = {
    ("GET", "/account"): Open.SIGNED_IN,
    ("POST", "/account/password"): Open.IN_PERSON,
    ("POST", "/sign-out"): Open.IN_PERSON,
    ("GET", "/worklist"): _P.STUDIES_READ,
    ("POST", "/worklist/send"): _P.TRANSMIT_SEND,
    ("POST", "/worklist/status"): _P.BULK_UPDATE,
    ("POST", "/worklist/assign"): _P.BULK_ASSIGN,
    ("POST", "/worklist/export"): _P.EXPORTS_CREATE,
    ("GET", _STUDY): _P.STUDIES_READ,
    ("GET", f"{_STUDY}/series/{{series}}"): _P.STUDIES_READ,
    ("GET", f"{_STUDY}/series/{{series}}/instances/{{instance}}"): _P.STUDIES_READ,
    ("POST", f"{_STUDY}/edit"): _P.STUDIES_WRITE,
    ("POST", f"{_STUDY}/delete"): _P.STUDIES_DELETE,
    ("GET", "/where"): _P.STUDIES_READ,
    ("GET", "/where/{study}"): _P.STUDIES_READ,
    ("POST", "/where/transmit/{job}/retry"): _P.TRANSMIT_SEND,
    ("GET", "/film"): _P.PRINT_SEND,
    ("GET", "/film/queue"): _P.PRINT_READ,
    ("POST", "/film/jobs/{job}/{act}"): _P.PRINT_SEND,
    ("GET", "/upload"): _P.STUDIES_WRITE,
    ("GET", "/transmission"): _P.TRANSMIT_READ,
    ("GET", "/transmission/jobs/{job}"): _P.TRANSMIT_READ,
    ("POST", "/transmission/jobs/{job}/retry"): _P.TRANSMIT_SEND,
    ("POST", "/transmission/jobs/{job}/cancel"): _P.TRANSMIT_SEND,
    ("GET", "/transmission/destinations"): _P.DESTINATIONS_READ,
    ("POST", "/transmission/destinations"): _P.DESTINATIONS_WRITE,
    ("POST", "/transmission/destinations/{name}"): _P.DESTINATIONS_WRITE,
    ("POST", "/transmission/destinations/{name}/echo"): _P.DESTINATIONS_READ,
    ("POST", "/transmission/destinations/{name}/remove"): _P.DESTINATIONS_WRITE,
    ("GET", "/transmission/rules"): _P.DESTINATIONS_READ,
    ("POST", "/transmission/rules"): _P.DESTINATIONS_WRITE,
    ("POST", "/transmission/rules/dry-run"): _P.DESTINATIONS_WRITE,
    ("POST", "/transmission/rules/{name}/remove"): _P.DESTINATIONS_WRITE,
    ("GET", "/trouble"): _P.CONFLICTS_READ,
    ("GET", "/trouble/count"): _P.DEAD_LETTERS_READ,
    ("GET", "/trouble/quarantine"): _P.QUARANTINE_READ,
    ("POST", "/trouble/quarantine/{one}/release"): _P.QUARANTINE_WRITE,
    ("POST", "/trouble/quarantine/{one}/discard"): _P.QUARANTINE_WRITE,
    ("GET", "/trouble/dead-letters"): _P.DEAD_LETTERS_READ,
    ("POST", "/trouble/dead-letters/{one}/replay"): _P.DEAD_LETTERS_WRITE,
    ("POST", "/trouble/dead-letters/{one}/discard"): _P.DEAD_LETTERS_WRITE,
    ("GET", "/trouble/conflicts"): _P.CONFLICTS_READ,
    ("GET", "/trouble/conflicts/{one}"): _P.CONFLICTS_READ,
    ("POST", "/trouble/conflicts/{one}"): _P.CONFLICTS_WRITE,
    ("GET", "/trouble/findings"): _P.VERIFICATION_READ,
    ("GET", "/trouble/jobs"): _P.TRANSMIT_READ,
    ("POST", "/trouble/transmit/{job}/retry"): _P.TRANSMIT_SEND,
    ("POST", "/trouble/print/{job}/retry"): _P.PRINT_SEND,
    ("POST", "/trouble/retrieve/{job}/retry"): _P.REMOTE_RETRIEVE,
    ("GET", "/people"): _P.USERS_READ,
    ("POST", "/people"): _P.USERS_WRITE,
    ("POST", "/people/users/{user}"): _P.USERS_WRITE,
    ("POST", "/people/users/{user}/end-sessions"): _P.USERS_WRITE,
    ("GET", "/people/roles"): _P.USERS_READ,
    ("POST", "/people/roles"): _P.USERS_WRITE,
    ("POST", "/people/roles/{role}/remove"): _P.USERS_WRITE,
    ("GET", "/people/keys"): Open.IN_PERSON,
    ("POST", "/people/keys"): Open.IN_PERSON,
    ("POST", "/people/keys/{key}/remove"): Open.IN_PERSON,
    ("GET", "/people/audit"): _P.AUDIT_READ,
    ("POST", "/people/audit/verify"): _P.AUDIT_READ,
    ("GET", "/senders"): _P.SENDERS_READ,
    ("POST", "/senders"): _P.SENDERS_WRITE,
    ("POST", "/senders/remove"): _P.SENDERS_WRITE,
    ("GET", "/system"): _P.SETTINGS_READ,
    ("GET", "/system/settings"): _P.SETTINGS_READ,
}
"""Pages and what their buttons do."""
