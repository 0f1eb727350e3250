"""Odoo by JSON-RPC and JSON-2: one interface, whichever it serves; its errors; keys (LIC-01)."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from darkroom_common.clock import SYSTEM_CLOCK, utc_now
from darkroom_licensing.odoo.faults import KeyRefused, OdooRefused, OdooUnreachable
from darkroom_licensing.odoo.odoo import Odoo
from darkroom_licensing.odoo.protocols import Json2, JsonRpc
from darkroom_licensing.odoo.wire import SECONDS, TRIES, Wire, tls
from tests.support.certificates import Authority
from tests.support.licences import Clinic
from tests.support.odoo import DATABASE, FIRST_KEY, LOGIN, OdooServer, OdooStandIn

ISSUE = {"installation": "clinic-7", "release": "0.1.0", "nonce": "n"}
MONTH = timedelta(days=30)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def server(authority: Authority) -> Iterator[OdooServer]:
    with OdooServer(OdooStandIn(utc_now), authority.sign("odoo")) as running:
        yield running


def speak(client: httpx.AsyncClient, url: str, *, database: str = DATABASE) -> Odoo:
    wire = Wire(client, url, pause=0)
    return Odoo((Json2(wire, database), JsonRpc(wire, database, LOGIN)), SYSTEM_CLOCK)


@pytest.fixture
async def odoo(server: OdooServer, authority: Authority) -> AsyncIterator[Odoo]:
    async with httpx.AsyncClient(verify=tls(authority.file), trust_env=False) as client:
        yield speak(client, server.url)


@pytest.mark.req("LIC-01")
@pytest.mark.parametrize(
    ("version", "protocol"),
    [(17, "JSON-RPC"), (18, "JSON-RPC"), (19, "JSON-2"), (21, "JSON-2"), (22, "JSON-2")],
)
async def test_every_version_is_spoken_to_by_https_without_a_setting(
    server: OdooServer, odoo: Odoo, version: int, protocol: str
) -> None:
    server.odoo.version = version
    answer = await odoo.call(FIRST_KEY, "darkroom.licence", "issue", ISSUE)
    assert answer["document"].count(".") == 2
    assert server.odoo.calls == [(protocol, "darkroom.licence.issue")]


async def test_an_upgrade_of_odoo_needs_nothing_here() -> None:
    clinic = Clinic()
    seen = []
    for version in (17, 18, 19, 20, 21, 22, 23):
        clinic.odoo.version = version
        standing = await clinic.after(timedelta(days=400))
        assert standing.state == "valid"
        seen.append(clinic.odoo.calls[-1][0] if version < 19 else "JSON-2")
        assert {one for one, _ in clinic.odoo.calls} == {seen[-1]}
        clinic.odoo.calls.clear()
    assert seen == ["JSON-RPC"] * 2 + ["JSON-2"] * 5


async def test_a_version_that_is_put_back_is_found_again() -> None:
    clinic = Clinic()
    for version, protocol in ((19, "JSON-2"), (18, "JSON-RPC"), (19, "JSON-RPC")):
        clinic.odoo.version = version
        await clinic.after(timedelta(hours=1))
        assert clinic.odoo.calls[-1][0] == protocol  # for a day the one that was not there waits
    await clinic.after(timedelta(days=1))
    assert clinic.odoo.calls[-1][0] == "JSON-2"


@pytest.mark.req("LIC-01")
async def test_a_slow_odoo_has_half_a_second_a_try(server: OdooServer, odoo: Odoo) -> None:
    server.slow.set()
    began = asyncio.get_running_loop().time()
    with pytest.raises(OdooUnreachable, match=r"no answer within 0\.5 s"):
        await odoo.call(FIRST_KEY, "darkroom.licence", "issue", ISSUE)
    spent = asyncio.get_running_loop().time() - began
    assert TRIES * SECONDS <= spent < TRIES * SECONDS + 1


@pytest.mark.req("LIC-01")
async def test_a_certificate_of_somebody_else_is_not_trusted(
    server: OdooServer, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path)
    async with httpx.AsyncClient(verify=tls(stranger.file), trust_env=False) as client:
        with pytest.raises(OdooUnreachable, match="certificate is not trusted"):
            await speak(client, server.url).call(FIRST_KEY, "darkroom.licence", "issue", ISSUE)
    assert server.odoo.calls == []


def test_the_certificate_is_checked_with_the_name_of_the_host() -> None:
    context = tls(None)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("503", "503"),
        ("500", "500"),
        ("404", "neither JSON-2 nor JSON-RPC"),
        ("redirect", "302"),
        ("long", "too long"),
    ],
)
async def test_what_is_no_answer_of_odoo_is_said_so(fault: str, said: str) -> None:
    clinic = Clinic()
    clinic.odoo.fault = fault
    standing = await clinic.after()
    assert said in standing.reason
    assert standing.state == "grace"


@pytest.mark.parametrize("fault", ["html", "garbage"])
async def test_a_page_of_a_portal_is_no_licence(fault: str) -> None:
    clinic = Clinic()
    clinic.odoo.fault = fault
    standing = await clinic.after()
    assert "its answer holds no licence document" in standing.reason


@pytest.mark.parametrize("version", [18, 19])
async def test_a_key_that_odoo_does_not_take_is_said_so_without_the_key(version: int) -> None:
    clinic = Clinic(given="ab" * 20)
    clinic.odoo.version = version
    standing = await clinic.after()
    assert "refuses the" in standing.reason
    assert "abab" not in standing.reason


@pytest.mark.parametrize("version", [18, 19])
async def test_a_model_that_is_not_there_is_an_answer_without_its_traceback(version: int) -> None:
    odoo = OdooStandIn(utc_now, version=version)
    async with httpx.AsyncClient(transport=odoo.transport()) as client:
        with pytest.raises(OdooRefused) as raised:
            await speak(client, "https://odoo").call(FIRST_KEY, "darkroom.license", "issue", ISSUE)
    assert "does not exist" in str(raised.value)
    assert "Traceback" not in str(raised.value)


async def test_a_database_that_is_not_there_is_said_by_json_rpc() -> None:
    odoo = OdooStandIn(utc_now, version=19)
    async with httpx.AsyncClient(transport=odoo.transport()) as client:
        with pytest.raises(OdooRefused, match="does not exist"):
            await speak(client, "https://odoo", database="none").call(
                FIRST_KEY, "darkroom.licence", "issue", ISSUE
            )


async def test_a_session_that_has_ended_signs_in_again() -> None:
    odoo = OdooStandIn(utc_now, version=17, keys={"one": None, "two": None})
    async with httpx.AsyncClient(transport=odoo.transport()) as client:
        spoken = speak(client, "https://odoo")
        await spoken.call("one", "darkroom.licence", "issue", ISSUE)
        del odoo.keys["one"]
        with pytest.raises(KeyRefused):
            await spoken.call("one", "darkroom.licence", "issue", ISSUE)
        assert await spoken.call("two", "darkroom.licence", "issue", ISSUE)


async def test_keys_are_exchanged_long_before_they_expire_and_the_old_ones_are_revoked() -> None:
    clinic = Clinic()
    clinic.odoo.keys = {FIRST_KEY: (clinic.clock.true + MONTH).date()}
    for _ in range(400):
        assert (await clinic.after(timedelta(days=3))).state == "valid"
        assert len(clinic.odoo.keys) <= 3  # ours, at times the one before, and the first
    ends = [end for key, end in clinic.odoo.keys.items() if key != FIRST_KEY]
    assert all(end and end > clinic.clock.true.date() + 1.5 * MONTH for end in ends)


async def test_a_key_outlives_a_restart_and_the_first_one_begins_again() -> None:
    clinic = Clinic()
    await clinic.after()
    own = clinic.own_key.read()
    del clinic.odoo.keys[FIRST_KEY]
    clinic.start()
    assert (await clinic.after(timedelta(hours=2))).state == "valid"
    clinic.odoo.keys = {"new": None}  # ours was revoked by hand; an operator sets another
    assert clinic.own_key.read() == own
    clinic.given = "new"
    clinic.start()
    assert (await clinic.after(timedelta(hours=2))).state == "valid"
    assert clinic.own_key.read() != own


async def test_keys_that_cannot_be_exchanged_are_used_until_they_end() -> None:
    clinic = Clinic()
    clinic.odoo.programmatic = False
    assert (await clinic.after()).state == "valid"
    assert "cannot be exchanged" in clinic.keys.fault
    asked = [call for _, call in clinic.odoo.calls].count("res.users.apikeys.generate")
    await clinic.after(timedelta(hours=2))
    assert [call for _, call in clinic.odoo.calls].count("res.users.apikeys.generate") == asked
    clinic.odoo.programmatic = True
    await clinic.after(timedelta(days=1))
    assert not clinic.keys.fault


async def test_a_key_that_was_made_and_never_used_does_no_harm() -> None:
    clinic = Clinic()
    await clinic.after()
    await clinic.after(timedelta(days=29))  # a second one, and the first is to be revoked
    clinic.away = "connect"
    clinic.start()
    await clinic.after(timedelta(hours=1))
    clinic.away = ""
    await clinic.after(timedelta(hours=2))
    assert len(clinic.odoo.keys) == 2
