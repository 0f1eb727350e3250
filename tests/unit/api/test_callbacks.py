"""Callbacks without a network: what is signed, where it may go, and what is told."""

import asyncio
import json
import time
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from darkroom_api.callbacks import signing
from darkroom_api.callbacks.addresses import AddressRefused, Allowed, is_public
from darkroom_api.callbacks.sending import payload
from darkroom_api.callbacks.spec import EVENT_TYPES, CallbackSpec, url_fault
from darkroom_api.events.catalogue import KINDS, MESSAGES, told
from darkroom_common.messages.base import Event
from darkroom_common.messages.events import (
    IndexedItem,
    InstancesIndexed,
    JobChanged,
    StudyStatusChanged,
)
from darkroom_common.topology import API_EVENTS
from tests.support.callback_receiver import documented_check


@pytest.fixture(scope="module")
def verified(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bool]:
    return documented_check(Path(tmp_path_factory.mktemp("page")))


def test_the_signature_is_that_of_the_published_example() -> None:
    made = signing.headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )
    assert made["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_check_of_the_page_takes_ours_and_nothing_else(verified: Callable[..., bool]) -> None:
    secret, other, now = signing.new_secret(), signing.new_secret(), int(time.time())
    made = signing.headers("e1", now, b"{}", [secret, other])
    assert verified(secret, made, b"{}")
    assert verified(other, made, b"{}")
    assert not verified(signing.new_secret(), made, b"{}")
    assert not verified(secret, made | {"webhook-id": "e2"}, b"{}")
    assert not verified(secret, made, b"[]")
    late = signing.headers("e1", now - 3600, b"{}", [secret])
    assert not verified(secret, late, b"{}")
    assert not verified(secret, {}, b"{}")


@pytest.mark.parametrize(
    ("text", "good"),
    [
        pytest.param(signing.new_secret(), True, id="new"),
        ("whsec_" + "A" * 32, True),
        ("whsec_" + "A" * 28, False),
        ("whsec_" + "A" * 90, False),
        ("whsec_not base64 at all, whatever it is", False),
        ("A" * 44, False),
        ("whsec_\u00e4" + "A" * 32, False),
    ],
)
def test_what_a_secret_is(text: str, good: bool) -> None:
    assert signing.is_secret(text) is good


@pytest.mark.parametrize(
    "text",
    [
        *(
            "127.0.0.1",
            "127.255.255.254",
            str(ip_address(0)),
            "10.1.2.3",
            "172.31.0.1",
            "192.168.0.1",
        ),
        *("169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "224.0.0.1"),
        *("255.255.255.255", "198.18.0.1", "192.0.0.192", "240.0.0.1", "::", "::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1", "fe80::1"),
        *("fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "64:ff9b::7f00:1", "fec0::1"),
        *("64:ff9b:1::7f00:1", "2002:7f00:1::1", "2001:0:7f00:1::", "2001:db8::1", "100::1"),
    ],
)
def test_special_addresses_in_every_notation_are_not_public(text: str) -> None:
    assert not is_public(ip_address(text)) or text.startswith("::ffff:")
    assert not Allowed().allows(ip_address(text))


def test_what_is_public_and_what_a_setting_allows() -> None:
    for text in ("8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "172.32.0.1", "100.128.0.1"):
        assert Allowed().allows(ip_address(text)), text
    allowed = Allowed((ip_network("10.0.0.0/8"), ip_network("fd12::/16")))
    assert allowed.allows(ip_address("::ffff:10.1.1.1"))
    assert allowed.allows(ip_address("fd12::1"))
    assert not allowed.allows(ip_address("127.0.0.1"))
    assert not allowed.allows(ip_address("fd13::1"))


async def test_every_notation_of_a_private_address_resolves_to_a_refusal() -> None:
    for host in ("127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "::1", "::ffff:7f00:1"):
        with pytest.raises(AddressRefused):
            await Allowed().resolve(host, 443)


async def test_a_name_with_a_public_and_a_private_address_leads_to_the_public_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = [["10.0.0.1", "8.8.8.8"], ["10.0.0.1"]]

    async def resolving(*_: Any, **__: Any) -> list[Any]:
        return [(2, 1, 6, "", (text, 443)) for text in answers.pop(0)]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolving)
    assert await Allowed().resolve("two.example", 443) == "8.8.8.8"
    with pytest.raises(AddressRefused):
        await Allowed().resolve("two.example", 443)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "ris.example",
            "ftp://ris.example/",
            "https://",
            "https:///x",
            "https://a:b@ris.example/",
        ),
        *("https://ris.example/ x", "https://ris.example/\r\nx: y", "https://ris.example/#x"),
        *(
            "https://ris.example:0/",
            "https://ris.example:99999/",
            "https://[::1",
            "https://\u00e4/",
        ),
        *("https://ris.example\\@10.0.0.1/", "file:///etc/passwd", "gopher://x/"),
    ],
)
def test_urls_that_cannot_be_called(url: str) -> None:
    assert url_fault(url)
    with pytest.raises(ValueError, match=r"it holds|it is no|port|fragment|password"):
        CallbackSpec(url=url, events=("*",))


def test_every_type_has_a_permission_and_every_message_a_queue() -> None:
    assert tuple(KINDS) == EVENT_TYPES
    assert set(API_EVENTS.binds) == set(MESSAGES)
    own = {"callback.disabled", "callback.enabled"}
    assert set(MESSAGES.values()) | own == set(EVENT_TYPES)


def an_item(series: str, sop: str, **more: Any) -> IndexedItem:
    return IndexedItem(
        receipt="0" * 32,
        study_instance_uid="1.2",
        series_instance_uid=series,
        sop_instance_uid=sop,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        modality="CT",
        object_key="k",
        sha256="0" * 64,
        size=1,
        calling_ae_title="CT1",
        called_ae_title="DARKROOM",
        **more,
    )


def test_a_batch_is_an_event_for_each_series_and_the_same_ones_when_it_comes_again() -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    batch = InstancesIndexed(
        items=(
            an_item("1.2.1", "1.2.1.1", traceparent=trace),
            an_item("1.2.2", "1.2.2.1"),
            an_item("1.2.1", "1.2.1.2", traceparent=trace),
        )
    )
    first, second = told(batch, {})
    assert [one.id for one in told(batch, {})] == [first.id, second.id]
    assert first.traceparent == trace
    data = json.loads(first.data)
    assert [one["sop_instance_uid"] for one in data["instances"]] == ["1.2.1.1", "1.2.1.2"]
    assert data["series_instance_uid"] == "1.2.1"
    body = json.loads(payload(first.id, first.type, "2026-01-01T00:00:00Z", first.data))
    assert (body["id"], body["type"], body["data"]) == (first.id, "instances.stored", data)


def test_jobs_that_are_somebodys_own_are_not_told() -> None:
    for kind, number in (("retrieve", 1), ("export", 0), ("bulk", 0)):
        made = JobChanged(kind=kind, job_id="0" * 32, lane="PACS", state="FAILED")
        assert len(told(made, {})) == number


def test_who_has_asked_is_not_told() -> None:
    event = StudyStatusChanged(
        study_instance_uid="1.2",
        old="complete",
        new="archived",
        revision=1,
        version=2,
        requested_by="nurse",
    )
    (one,) = told(event, {})
    assert "nurse" not in one.data
    with pytest.raises(TypeError):
        told(_Other(), {})


class _Other(Event):
    TYPE = "other.v1"
