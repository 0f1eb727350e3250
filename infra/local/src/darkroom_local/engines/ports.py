"""Ports on the loopback address: finding free ones, and keeping them from start to start."""

import atexit
import json
import random
import socket
import sys
from collections import deque
from pathlib import Path
from typing import Final

from darkroom_common.clock import monotonic

LOOPBACK: Final = "127.0.0.1"

# Below the range from which Linux takes the ports of outgoing connections (32768 to 60999), so
# that none of those can take a port between our choice and the child's bind.
_RANGE: Final = range(21000, 32000)
_ATTEMPTS: Final = 200
_AMQP_HEADER: Final = b"AMQP\x00\x00\x09\x01"
_METHOD_FRAME: Final = b"\x01"
_CLAIM_SECONDS: Final = 60.0
_claims: deque[tuple[float, socket.socket]] = deque()


class NoFreePortError(OSError):
    """No port of the range could be bound: something holds thousands of them."""


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Say whether a TCP listener could be opened on `host` and `port` now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do it: a connection in TIME_WAIT does not make a port busy.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


@atexit.register
def _let_go() -> None:
    while _claims:
        _claims.popleft()[1].close()


def _claim(port: int) -> bool:
    """Keep a port for a minute; say whether no other process of this machine has done so.

    A name of an abstract socket belongs to one process, and is free again when that ends: whoever
    chooses a port for a child has it until the child listens. Only Linux has such names.
    """
    now = monotonic()
    while _claims and _claims[0][0] < now:
        _claims.popleft()[1].close()
    if sys.platform != "linux":
        return True
    name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        name.bind(f"\0darkroom-port-{port}")
    except OSError:
        name.close()
        return False
    _claims.append((now + _CLAIM_SECONDS, name))
    return True


def free_port(taken: frozenset[int] = frozenset()) -> int:
    """Return a port of 127.0.0.1 that nobody listens on, and that is not among `taken`.

    Nobody who asks here gets it again within a minute.

    Raises:
        NoFreePortError: after 200 random tries.
    """
    # Random, not counted up: several processes choose at the same moment.
    chooser = random.SystemRandom()
    for _ in range(_ATTEMPTS):
        port = chooser.choice(_RANGE)
        if port not in taken and is_free(port) and _claim(port):
            return port
    raise NoFreePortError(f"no free port of {LOOPBACK} in {_RANGE.start}..{_RANGE.stop - 1}")


def listens(port: int) -> bool:
    """Say whether somebody takes connections on a port of 127.0.0.1."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=0.5).close()
    except OSError:
        return False
    return True


def speaks_amqp(port: int) -> bool:
    """Say whether a broker answers a protocol header with Connection.Start (AMQP 0-9-1, 2.2.4)."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=0.5) as connection:
            connection.sendall(_AMQP_HEADER)
            return connection.recv(1) == _METHOD_FRAME
    except OSError:
        return False


class PortBook:
    """The ports of one installation by name, kept in a JSON file and reused while free."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ports: dict[str, int] = {}
        if path.exists():
            self._ports = {str(k): int(v) for k, v in json.loads(path.read_text()).items()}

    def port(self, name: str) -> int:
        """Return the port that `name` had last time when it is still free, else a new one."""
        known = self._ports.get(name)
        if known is None or not is_free(known):
            known = free_port(taken=frozenset(self._ports.values()))
            self._ports[name] = known
            self._save()
        return known

    def _save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".new")
        draft.write_text(json.dumps(self._ports, indent=1, sort_keys=True))
        draft.replace(self._path)
