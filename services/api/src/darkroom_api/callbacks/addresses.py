"""Which addresses may be called: public ones, and those that a setting names.

A name is resolved once for each attempt, and the connection goes to the address that was looked
at, so that a name that points elsewhere a moment later leads nowhere (DNS rebinding).
"""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
_NOT_PUBLIC: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # of carriers, RFC 6598; clouds have metadata here, too
        "127.0.0.0/8",
        "168.63.129.16/32",  # a public address that is a cloud's own within it
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
    )
)
"""Of the IANA registry of special-purpose addresses, and multicast and what is reserved."""
_PUBLIC_6: Final = IPv6Network("2000::/3")
_NOT_PUBLIC_6: Final = tuple(
    IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
"""Teredo and 6to4 hold an IPv4 address, as NAT64 outside of 2000::/3 does."""


class AddressRefused(Exception):
    """It is none that may be called. The text names no address."""


@dataclass(frozen=True)
class Allowed:
    """What may be called beside the public addresses."""

    networks: Sequence[Network] = ()

    def allows(self, address: Address) -> bool:
        """Tell whether an address may be called."""
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in one for one in self.networks) or is_public(address)

    async def resolve(self, host: str, port: int) -> str:
        """Return the address of a host to connect to.

        Raises:
            AddressRefused: it has none that may be called.
            OSError: it has none.
        """
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
        texts = [str(info[4][0]) for info in found]
        for text in texts:
            if self.allows(ip_address(text)):
                return text
        raise AddressRefused("its address is private or special")


def is_public(address: Address) -> bool:
    """Tell whether an address is one of the Internet's."""
    if isinstance(address, IPv4Address):
        return not any(address in one for one in _NOT_PUBLIC)
    inside = address in _PUBLIC_6 and address.scope_id is None
    return inside and not any(address in one for one in _NOT_PUBLIC_6)
