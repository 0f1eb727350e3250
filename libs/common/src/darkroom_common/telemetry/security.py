"""Security events: the lines of the log that a SIEM wants, as a stream of their own (OBS-08).

They are lines of the log like the others, with `"stream": "security"`; with a file they are written
there, too. What is in the stream is decided here, by the logger or by the name of the event.
"""

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Final

import orjson

LOGGER: Final = "darkroom.security"
"""All of what it says: rows of the audit log about people and their rights, and its chain."""
STREAM: Final = "security"
EVENTS: Final = frozenset(
    {
        "access.refused",
        "association.rejected",
        "association.unreadable",
        "audit.lost",
        "certificate.expired",
        "certificate.in_force",
        "certificate.refused",
        "certificate.renewed",
        "connection.not_dicom",
        "development.open",
        "http.refused",
        "quarantine.discarded",
        "quarantine.exported",
        "quarantine.released",
        "request.refused",
        "stow.refused",
        "tls.no_certificate",
        "tls.refused",
    }
)


_PREFIX: Final = "login."
"""Of how it went when somebody has tried to sign in."""


def is_security(event: str, logger: str = "") -> bool:
    """Tell whether an event belongs to the stream."""
    return event in EVENTS or event.startswith(_PREFIX) or logger == LOGGER


def mark(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Say of a security event that it is one; a structlog processor."""
    if is_security(str(event.get("event")), event.get("logger", "")):
        event["stream"] = STREAM
    return event


class SecurityFile:
    """The file that security events are written to, a line each; a structlog processor.

    It is opened for each line, so that it can be renamed at any time. What the disk does not take
    is in the log all the same, with how many that were.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lost = 0

    def __call__(
        self, _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Write an event that is marked, when it is clean."""
        if event.get("stream") != STREAM:
            return event
        try:
            with self._path.open("ab", buffering=0) as file:
                file.write(orjson.dumps(event, default=repr, option=_OPTIONS))
        except OSError as error:
            self._lost += 1
            event["not_in_file"] = error.strerror or type(error).__name__
            event["not_in_file_so_far"] = self._lost
        return event


_OPTIONS: Final = orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE
