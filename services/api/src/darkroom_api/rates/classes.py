"""Which limit a route is under."""

import re
from enum import StrEnum
from typing import Final

from darkroom_api.accounts.permissions import Access, Open
from darkroom_api.console.paths import FILES, SCREENS

_FREE: Final = frozenset({"/livez", "/readyz", "/metrics/{service}", "/api/v1/health"})
_LASTING: Final = frozenset({"/dicom-web/subscribers/{ae_title}"})
"""Whose answer goes on: counted when it begins, as the event stream is."""
_JOBS: Final = re.compile(
    r"/api/v1/(.+/jobs|exports|conflict-decisions|study-edits|study-removals|study-recalls|tag-jobs|migrations)"
    r"(/\{[a-z_]+\}(/status)?)?"
)


class Class(StrEnum):
    """What is counted together."""

    DEFAULT = "default"
    LOGIN = "login"
    EXPORTS = "exports"
    BULK = "bulk"
    ANONYMOUS = "anonymous"
    DICOMWEB = "dicomweb"
    POLLING = "polling"
    CONSOLE = "console"
    FREE = "free"


IN_FLOW: Final = frozenset({Class.DICOMWEB, Class.POLLING, Class.CONSOLE})
"""Limited by what is under way, not by count."""


def class_of(method: str, path: str, access: Access) -> Class:
    """Return the class of a route of the table.

    Args:
        method: of the route.
        path: of the route, with its parameters in braces.
        access: what it needs.
    """
    if path in _FREE or path in FILES:
        found = Class.FREE
    elif (method, path) in SCREENS:
        found = Class.CONSOLE
    elif path == "/api/v1/auth/login":
        found = Class.LOGIN
    elif access is Open.PUBLIC:
        found = Class.ANONYMOUS
    elif path.startswith("/dicom-web/") and path not in _LASTING:
        found = Class.DICOMWEB
    elif method == "GET" and _JOBS.fullmatch(path):
        found = Class.POLLING
    elif method == "POST" and path == "/api/v1/studies/export":
        found = Class.EXPORTS
    elif method == "POST" and path.startswith("/api/v1/studies/bulk/"):
        found = Class.BULK
    else:
        found = Class.DEFAULT
    return found
