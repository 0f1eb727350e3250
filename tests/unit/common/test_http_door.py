"""Who has to leave when a listener is full."""

from dataclasses import dataclass, field
from ipaddress import ip_network

import pytest

from darkroom_common.http.door import Door, crowd_of, is_within
from darkroom_common.http.limits import Limits

SMALL = Limits(connections=6, connections_per_address=3)


@dataclass(eq=False)
class Visitor:
    """A connection that only counts."""

    host: str
    idle_since: float | None = None
    dismissed: bool = field(default=False)
    is_known: bool = False

    @property
    def crowd(self) -> str:
        """What it is counted under."""
        return crowd_of(self.host)

    def dismiss(self) -> None:
        """Note it."""
        self.dismissed = True


def test_the_longest_idle_of_the_most_crowded_address_leaves() -> None:
    door = Door(SMALL)
    crowd = [Visitor("192.0.2.1", since) for since in (3.0, 1.0, 2.0)]
    others = [Visitor("192.0.2.2", 0.5), Visitor("192.0.2.3", 0.1), Visitor("192.0.2.4", 0.2)]
    assert all(door.admit(one) for one in crowd + others)
    assert door.admit(Visitor("192.0.2.5"))
    assert [one.dismissed for one in crowd] == [False, True, False]
    assert not any(one.dismissed for one in others)
    assert len(door.guests) == SMALL.connections


def test_who_has_signed_in_leaves_last() -> None:
    door = Door(SMALL)
    known = [Visitor("192.0.2.1", since, is_known=True) for since in (1.0, 2.0, 3.0)]
    strangers = [Visitor(f"192.0.2.{n}", 9.0) for n in (2, 3, 4)]
    assert all(door.admit(one) for one in known + strangers)
    for stranger in strangers:
        assert door.admit(Visitor("192.0.2.9"))
        assert stranger.dismissed is True or any(one.dismissed for one in strangers)
    assert not any(one.dismissed for one in known)


def test_one_address_makes_room_for_itself_only() -> None:
    door = Door(SMALL)
    crowd = [Visitor("192.0.2.1", since) for since in (3.0, 1.0, 2.0)]
    other = Visitor("192.0.2.2", 0.0)
    assert all(door.admit(one) for one in [*crowd, other])
    assert door.admit(Visitor("192.0.2.1"))
    assert crowd[1].dismissed
    assert not other.dismissed


def test_who_is_at_work_stays() -> None:
    door = Door(SMALL)
    busy = [Visitor(f"192.0.2.{n // 3}") for n in range(6)]
    assert all(door.admit(one) for one in busy)
    assert not door.admit(Visitor("192.0.2.9"))
    door.leave(busy[0])
    door.leave(busy[0])
    assert door.admit(Visitor("192.0.2.9"))


def test_a_proxy_has_no_limit_of_its_own() -> None:
    door = Door(SMALL, [ip_network("10.0.0.0/8")])
    assert all(door.admit(Visitor("10.0.0.1")) for _ in range(6))
    assert not door.admit(Visitor("10.0.0.2"))


@pytest.mark.parametrize(
    ("host", "crowd"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_an_ipv6_network_is_one_crowd(host: str, crowd: str) -> None:
    assert crowd_of(host) == crowd


def test_the_last_place_of_an_address_and_of_the_house_is_taken() -> None:
    door = Door(SMALL)
    crowd = [Visitor("192.0.2.1") for _ in range(SMALL.connections_per_address)]
    assert all(door.admit(one) for one in crowd)
    assert not door.admit(Visitor("192.0.2.1"))
    others = [Visitor(f"192.0.2.{n}") for n in range(2, 2 + SMALL.connections - len(crowd))]
    assert all(door.admit(one) for one in others)
    assert not door.admit(Visitor("192.0.2.9"))
    assert len(door.guests) == SMALL.connections


def test_who_was_dismissed_is_not_counted_any_more() -> None:
    door = Door(SMALL)
    assert all(door.admit(Visitor("192.0.2.1", 1.0)) for _ in range(10))
    assert len(door.guests) == SMALL.connections_per_address
    for guest in list(door.guests):
        door.leave(guest)
    assert (door.guests, door._counts) == (set(), {})
    assert all(door.admit(Visitor("192.0.2.1")) for _ in range(SMALL.connections_per_address))
    assert not door.admit(Visitor("192.0.2.1"))


def test_a_proxy_among_others_makes_room_where_it_is_most_crowded() -> None:
    door = Door(SMALL, [ip_network("10.0.0.0/8")])
    proxied = [Visitor("::ffff:10.0.0.1", float(n)) for n in range(4)]
    others = [Visitor("192.0.2.1", -1.0), Visitor("nowhere", -2.0)]
    assert all(door.admit(one) for one in proxied + others)
    assert door.admit(Visitor("192.0.2.2"))
    assert [one.dismissed for one in proxied + others] == [True, False, False, False, False, False]


def test_who_is_dismissed_is_not_inside_any_more() -> None:
    door = Door(SMALL)
    inside: list[bool] = []

    class Asking(Visitor):
        def dismiss(self) -> None:
            inside.append(self in door.guests)

    assert all(door.admit(Asking("192.0.2.1", 1.0)) for _ in range(4))
    assert inside == [False]


@pytest.mark.parametrize(
    ("host", "within"),
    [
        ("10.0.0.1", True),
        ("::ffff:10.255.0.1", True),
        ("11.0.0.1", False),
        ("fd00::1", True),
        ("fd01::1", False),
        ("nowhere", False),
        ("", False),
    ],
)
def test_addresses_of_networks(host: str, *, within: bool) -> None:
    assert is_within(host, [ip_network("10.0.0.0/8"), ip_network("fd00::/32")]) is within
    assert not is_within(host, [])
