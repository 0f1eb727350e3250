"""Who asks: the address of the client, also behind proxies (API-24)."""

import re
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Final

from starlette.requests import Request
from starlette.types import Scope

from darkroom_common.http.door import Network, crowd_of, is_within

PROXY_FIELDS: Final = (
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
)
"""Fields that proxies add."""
_LOOPBACK: Final = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_FORWARDED: Final = b"x-forwarded-for"
_PROTO: Final = b"x-forwarded-proto"
_WITH_PORT: Final = re.compile(r"\[(?P<v6>[^\]]+)\](?::\d+)?|(?P<v4>[\d.]+):\d+")


def client_of(scope: Scope, proxies: Sequence[Network]) -> tuple[str, int] | None:
    """Return address and port of who asks; the port is 0 where a proxy says who it is.

    Each proxy adds the address that it sees at the end of X-Forwarded-For. From there on backward
    it is believed as long as a trusted proxy says it; what stands before may be made up.
    """
    client: tuple[str, int] | None = scope.get("client")
    if client is None or not is_within(client[0], proxies):
        return client
    said = b",".join(value for name, value in scope["headers"] if name == _FORWARDED)
    found = client
    for part in reversed(said.decode("latin-1").split(",")):
        address = _address(part.strip())
        if address is None:
            break
        found = (address, 0)
        if not is_within(address, proxies):
            break
    return found


def scheme_of(scope: Scope, proxies: Sequence[Network]) -> str:
    """Return `https` or `http`: how the client has come to us or to a trusted proxy.

    Of several values the last one is of the proxy that stands next to us.
    """
    own = "https" if scope.get("scheme") == "https" else "http"
    peer: tuple[str, int] | None = scope.get("client")
    if peer is None or not is_within(peer[0], proxies):
        return own
    said = b",".join(value for name, value in scope["headers"] if name == _PROTO)
    last = said.decode("latin-1").rpartition(",")[2].strip().lower()
    return last if last in {"http", "https"} else own


def address_of(scope: Scope) -> str:
    """Return who asks as limits and the log have it: an IPv4 address or an IPv6 network."""
    client: tuple[str, int] | None = scope.get("client")
    return crowd_of(client[0]) if client else "unknown"


def is_local(request: Request) -> bool:
    """Tell whether a program of this machine asks, and no proxy of this machine for another."""
    client = request.client
    asks = client is not None and is_within(client.host, _LOOPBACK)
    return asks and not any(name in request.headers for name in PROXY_FIELDS)


def _address(text: str) -> str | None:
    """Return an address of X-Forwarded-For, which some proxies write with a port."""
    found = _WITH_PORT.fullmatch(text)
    try:
        return str(ip_address((found["v6"] or found["v4"]) if found else text))
    except ValueError:
        return None
