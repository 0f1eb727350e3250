"""The ports of the services, held by `darkroom up` for as long as it runs.

They are bound here and listened on by the services, which get them as open files: so a port goes
from one process to the next without a refused connection, also when a process was killed.
"""

import socket
from collections.abc import Mapping

from darkroom_common.links.inherited import VARIABLE, told
from darkroom_common.settings import EVERY_INTERFACE

Ports = Mapping[str, tuple[tuple[str, int], ...]]
"""Of each service the addresses that it listens on; one that stands there twice has two sockets."""


class Listeners:
    """Sockets that are bound, of each service.

    Raises:
        OSError: an address is taken.
    """

    def __init__(self, ports: Ports) -> None:
        self._sockets: dict[str, list[tuple[int, socket.socket]]] = {}
        for service, addresses in ports.items():
            for host, port in addresses:
                shared = addresses.count((host, port)) > 1
                held = self._sockets.setdefault(service, [])
                held.append((port, _bound(host, port, shared=shared)))

    def of(self, service: str) -> dict[str, str]:
        """Return the setting by which a service finds them."""
        files: dict[int, list[int]] = {}
        for port, one in self._sockets.get(service, ()):
            files.setdefault(port, []).append(one.fileno())
        return {VARIABLE: told(files)} if files else {}

    def files(self, service: str) -> tuple[int, ...]:
        """Return the open files that a service is to have."""
        return tuple(one.fileno() for _, one in self._sockets.get(service, ()))

    def close(self) -> None:
        """Let the ports go with whoever listens on them."""
        for held in self._sockets.values():
            for _, one in held:
                one.close()


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    one = socket.socket(family, socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    one.bind((host or EVERY_INTERFACE, port))
    return one
