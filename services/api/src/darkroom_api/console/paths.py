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
}
"""Pages and what their buttons do."""
