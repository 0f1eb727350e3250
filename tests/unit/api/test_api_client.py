"""Who asks: X-Forwarded-For counts only as far as trusted proxies say it."""

from ipaddress import ip_network
from typing import Any

import pytest
from starlette.requests import Request

from darkroom_api.accounts.client import PROXY_FIELDS, address_of, client_of, is_local, scheme_of

PROXIES = (ip_network("10.0.0.0/24"), ip_network("fd00::/8"))


def scope(peer: str | None, *forwarded: str) -> dict[str, Any]:
    """A request as it comes from a peer."""
    headers = [(b"x-forwarded-for", text.encode("latin-1")) for text in forwarded]
    return {"client": peer and (peer, 5000), "headers": headers}


@pytest.mark.req("API-24")
@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["8.8.8.8"], "192.0.2.1"),  # not a proxy of ours
        ("10.0.0.1", ["8.8.8.8"], "8.8.8.8"),
        ("10.0.0.1", ["1.1.1.1, 8.8.8.8"], "8.8.8.8"),  # the first is made up
        ("10.0.0.1", ["1.1.1.1, 8.8.8.8, 10.0.0.2"], "8.8.8.8"),
        ("10.0.0.1", ["1.1.1.1", "8.8.8.8"], "8.8.8.8"),  # two fields are one list
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["8.8.8.8, junk"], "10.0.0.1"),
        ("10.0.0.1", ["8.8.8.8, \xff\r\nX: y"], "10.0.0.1"),
        ("10.0.0.1", ["8.8.8.8:4711"], "8.8.8.8"),
        ("10.0.0.1", ["[2001:db8:1:2::5]:4711"], "2001:db8:1:2::/64"),
        ("10.0.0.1", ["2001:db8:1:2::5"], "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", ["::ffff:8.8.8.8"], "8.8.8.8"),
        ("fd00::1", ["8.8.8.8"], "8.8.8.8"),
        ("10.0.1.1", ["8.8.8.8"], "10.0.1.1"),
        (None, ["8.8.8.8"], "unknown"),
    ],
)
def test_the_last_address_that_a_trusted_proxy_names_asks(
    peer: str | None, forwarded: list[str], found: str
) -> None:
    asked = scope(peer, *forwarded)
    asked["client"] = client_of(asked, PROXIES)
    assert address_of(asked) == found


def test_without_proxies_nobody_is_believed() -> None:
    asked = scope("10.0.0.1", "8.8.8.8")
    assert client_of(asked, ()) == ("10.0.0.1", 5000)


@pytest.mark.parametrize(
    ("peer", "said", "found"),
    [
        ("192.0.2.1", "https", "http"),  # not a proxy of ours
        ("10.0.0.1", "https", "https"),
        ("10.0.0.1", "HTTPS", "https"),
        ("10.0.0.1", "https, http", "http"),
        ("10.0.0.1", "gopher", "http"),
        ("10.0.0.1", "", "http"),
        (None, "https", "http"),
    ],
)
def test_the_scheme_is_what_a_trusted_proxy_says(peer: str | None, said: str, found: str) -> None:
    asked = {
        "client": peer and (peer, 5000),
        "scheme": "http",
        "headers": [(b"x-forwarded-proto", said.encode()), (b"forwarded", b"proto=https")],
    }
    assert scheme_of(asked, PROXIES) == found


@pytest.mark.parametrize(
    ("peer", "headers", "local"),
    [
        ("127.0.0.1", {}, True),
        ("127.9.9.9", {"accept": "*/*"}, True),
        ("::1", {}, True),
        ("10.0.0.1", {}, False),
        ("10.0.0.1", {"via": "1.1 proxy"}, False),
        (None, {}, False),
        *(("127.0.0.1", {name: "8.8.8.8"}, False) for name in PROXY_FIELDS),
    ],
)
def test_a_program_of_this_machine_asks_without_a_proxy(
    peer: str | None, headers: dict[str, str], *, local: bool
) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    asked = {"type": "http", "client": peer and (peer, 5000), "headers": raw}
    assert bool(is_local(Request(asked))) is local
