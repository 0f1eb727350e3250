"""Listening sockets that whoever runs a service holds for it, so that a port outlives a process.

`DARKROOM_LISTENERS` is JSON: of each port the open files that are bound to it. A process that has
them accepts from the same queue as the one before it and the one after it: a connection that waits
there when one of them ends is taken by the other, and nobody is refused.
"""

import json
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Final

from darkroom_common.errors import ConfigurationError

VARIABLE: Final = "DARKROOM_LISTENERS"


def told(listeners: Mapping[int, Sequence[int]]) -> str:
    """Return the value of `DARKROOM_LISTENERS` for the open files of each port."""
    return json.dumps({str(port): list(files) for port, files in listeners.items()})


def inherited(port: int, backlog: int) -> list[socket.socket]:
    """Return the sockets that are held for a port, which listen now; none when there are none.

    Each call makes objects of its own: closing them leaves the port as it is.

    Raises:
        ConfigurationError: what was told is no list of sockets of that port.
    """
    said = os.environ.get(VARIABLE)
    if not said or not port:
        return []
    found: list[socket.socket] = []
    try:
        files = [int(one) for one in json.loads(said).get(str(port), [])]
        found.extend(socket.socket(fileno=os.dup(one)) for one in files)
        others = [one for one in found if one.getsockname()[1] != port]
        for one in found:
            one.listen(backlog)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        _close(found)
        raise ConfigurationError(
            f"{VARIABLE}: of port {port} there is no list of its sockets: {error}"
        ) from error
    if others:
        _close(found)
        raise ConfigurationError(f"{VARIABLE}: a file of port {port} is bound to another")
    return found


def _close(found: list[socket.socket]) -> None:
    for one in found:
        one.close()


def is_held(port: int) -> bool:
    """Tell whether sockets are held for a port."""
    return str(port) in json.loads(os.environ.get(VARIABLE) or "{}")
