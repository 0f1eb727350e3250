"""Who is connected to a listener, and who has to leave when it is full."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, Protocol

from darkroom_common.http.limits import Limits

Network = IPv4Network | IPv6Network
_REMEMBERED: Final = 4096
"""Hosts that were parsed: the same ones ask again and again."""
_OWN_BITS: Final = 64
"""Of an IPv6 address: whoever has one has them all."""


class Guest(Protocol):
    """A connection as the door sees it."""

    host: str

    @property
    def crowd(self) -> str:
        """What it is counted under; see `crowd_of`."""
        ...

    @property
    def is_known(self) -> bool:
        """Whether somebody has signed in on it."""
        ...

    @property
    def idle_since(self) -> float | None:
        """Since when it waits for its client; None while nothing else may close it."""
        ...

    def dismiss(self) -> None:
        """Close it, since another has come."""
        ...


class Door:
    """Counts connections; a full house lets the longest idle of the most crowded address go.

    Those on which somebody has signed in go last.

    Args:
        limits: in all and of an address.
        unlimited: networks of proxies, each of which stands for many: only the first limit holds.
    """

    def __init__(self, limits: Limits, unlimited: Sequence[Network] = ()) -> None:
        self.limits = limits
        self.guests: set[Guest] = set()
        self._counts: Counter[str] = Counter()
        self._unlimited = tuple(unlimited)

    def admit(self, guest: Guest) -> bool:
        """Tell whether a connection may stay, and count it if so."""
        most = self.limits.connections_per_address
        if self._counts[guest.crowd] >= most and not is_within(guest.host, self._unlimited):
            full, among = True, [one for one in self.guests if one.crowd == guest.crowd]
        else:
            full, among = len(self.guests) >= self.limits.connections, list(self.guests)
        if full and not self._make_room(among):
            return False
        self.guests.add(guest)
        self._counts[guest.crowd] += 1
        return True

    def leave(self, guest: Guest) -> None:
        """Forget a connection."""
        if guest in self.guests:
            self.guests.discard(guest)
            self._counts[guest.crowd] -= 1
            if not self._counts[guest.crowd]:
                del self._counts[guest.crowd]

    def _make_room(self, among: Iterable[Guest]) -> bool:
        idle = [(one.idle_since, one) for one in among if one.idle_since is not None]
        if not idle:
            return False
        _, chosen = min(
            idle, key=lambda one: (one[1].is_known, -self._counts[one[1].crowd], one[0])
        )
        self.leave(chosen)
        chosen.dismiss()
        return True


@lru_cache(maxsize=_REMEMBERED)
def _address(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address of a host; None when it is none."""
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return None


def crowd_of(host: str) -> str:
    """Return what connections from a host are counted under: its address or its network."""
    address = _address(host)
    if address is None:
        return host
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((address, _OWN_BITS), strict=False))


def is_within(host: str, networks: Sequence[Network]) -> bool:
    """Tell whether an address is of one of these networks."""
    address = _address(host)
    if address is None:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return any((mapped or address) in network for network in networks)
