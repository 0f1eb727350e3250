"""Signing in while others guess: who is locked out, who is not, and how long anybody waits."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.integration.api.conftest import ADMIN, Api, running_api
from tests.support.services import Services

LOGIN = "/api/v1/auth/login"
HERE = "127.0.0.1"  # where the administrator has signed in from


@asynccontextmanager
async def client_at(api: Api, address: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client that calls from an address of this machine."""
    transport = httpx.AsyncHTTPTransport(local_address=address)
    async with httpx.AsyncClient(base_url=api.url, transport=transport, timeout=20) as client:
        yield client


async def sign_in(client: httpx.AsyncClient, password: str, name: str = ADMIN) -> int:
    """Try to sign in; return the status."""
    answer = await client.post(LOGIN, json={"username": name, "password": password})
    if answer.status_code == 429:
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["code"] == 1005
    return answer.status_code


async def tries_from(api: Api, address: str, number: int, name: str = ADMIN) -> list[int]:
    """Guess in vain from an address."""
    async with client_at(api, address) as client:
        return [await sign_in(client, "wrong", name) for _ in range(number)]


@pytest.mark.req("API-03")
async def test_nobody_locks_out_anybody_elsewhere(api: Api) -> None:
    right = api.services.admin_password
    assert await tries_from(api, "127.0.0.2", 7) == [401] * 5 + [429] * 2
    async with client_at(api, "127.0.0.2") as attacker, client_at(api, "127.0.0.3") as other:
        assert await sign_in(attacker, right) == 429
        assert await sign_in(other, right) == 200
    async with client_at(api, HERE) as known:
        assert await sign_in(known, right) == 200


async def test_a_known_device_passes_its_locked_neighbour(api: Api) -> None:
    right = api.services.admin_password
    async with client_at(api, "127.0.0.4") as device:
        assert await sign_in(device, right) == 200
        assert await tries_from(api, "127.0.0.4", 6) == [401] * 5 + [429]
        assert await sign_in(device, right) == 200
        assert [await sign_in(device, "wrong") for _ in range(6)] == [401] * 5 + [429]
        assert await sign_in(device, right) == 429  # it is no way to guess on
    async with client_at(api, "127.0.0.4") as forger:
        forger.cookies.set("darkroom_device", "made-up")
        assert await sign_in(forger, right) == 429
        forger.cookies.set("darkroom_device", "x" * 5000)
        assert await sign_in(forger, right) == 429


async def test_a_device_is_known_to_the_one_who_signed_in_there(api: Api) -> None:
    async with client_at(api, "127.0.0.5") as client:
        answer = await client.post(
            LOGIN, json={"username": ADMIN, "password": api.services.admin_password}
        )
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert f"Path={LOGIN}" in cookie
        secret = answer.cookies["darkroom_device"]
        again = await client.post(
            LOGIN, json={"username": ADMIN, "password": api.services.admin_password}
        )
        assert "set-cookie" not in again.headers
        assert [await sign_in(client, "wrong", "somebody") for _ in range(6)][-1] == 429
    log = api.services.running["api"].log.read_text()
    assert secret not in log


async def test_guessing_from_many_addresses_ends(api: Api) -> None:
    for number in range(13):
        await tries_from(api, f"127.0.1.{number + 1}", 4)
    right = api.services.admin_password
    async with client_at(api, "127.0.2.1") as stranger, client_at(api, HERE) as known:
        assert await sign_in(stranger, right) == 429
        assert await sign_in(known, right) == 200


async def test_who_fails_is_in_the_log_by_address_alone(api: Api) -> None:
    await tries_from(api, "127.0.0.6", 6)
    await tries_from(api, "127.0.0.6", 1, "Planted^Name")
    lines = [json.loads(line) for line in api.services.running["api"].log.read_text().splitlines()]
    told = [line for line in lines if line.get("address") == "127.0.0.6"]
    logins = [line for line in told if line["event"].startswith("login.")]
    events = [line["event"] for line in logins]
    assert events == ["login.refused"] * 5 + ["login.locked", "login.refused"]
    assert {bool(line["user_id"]) for line in logins[:5]} == {True}
    assert not any("Planted" in json.dumps(line) for line in lines)


async def test_a_crowd_at_the_door_delays_nobody_who_is_known(api: Api) -> None:
    right = api.services.admin_password

    async def stranger(number: int) -> int:
        async with client_at(api, f"127.0.3.{number % 100 + 1}") as client:
            return await sign_in(client, "wrong", f"nobody-{number}")

    async with client_at(api, HERE) as known:
        assert await sign_in(known, right) == 200
        crowd = [asyncio.create_task(stranger(number)) for number in range(200)]
        await asyncio.wait(crowd, return_when=asyncio.FIRST_COMPLETED)
        assert await sign_in(known, right) == 200
        assert not all(one.done() for one in crowd), "it has not waited for all of them"
        statuses = await asyncio.gather(*crowd)
    assert set(statuses) == {401, 429}
    assert statuses.count(429) > 50


async def test_an_address_is_what_a_trusted_proxy_says(services: Services) -> None:
    services.extra["TRUSTED_PROXIES"] = '["127.0.0.9/32"]'
    async with running_api(services) as api, client_at(api, "127.0.0.9") as proxy:
        right = services.admin_password

        async def through(address: str, password: str) -> int:
            answer = await proxy.post(
                LOGIN,
                json={"username": ADMIN, "password": password},
                headers={"x-forwarded-for": f"6.6.6.6, {address}"},
            )
            proxy.cookies.clear()
            return answer.status_code

        assert [await through("192.0.2.1", "wrong") for _ in range(6)] == [401] * 5 + [429]
        assert await through("192.0.2.2", right) == 200
        async with client_at(api, "127.0.0.8") as liar:
            liar.headers["x-forwarded-for"] = "192.0.2.1"
            assert await sign_in(liar, right) == 200


@pytest.mark.req("API-04")
async def test_an_address_may_fail_so_often_whatever_the_names(services: Services) -> None:
    services.extra["LIMIT_LOGIN"] = "5/minute"
    async with running_api(services) as api:
        right = services.admin_password
        async with client_at(api, "127.0.0.60") as device, client_at(api, "127.0.0.61") as other:
            assert await sign_in(device, right) == 200
            async with client_at(api, "127.0.0.60") as sprayer:
                tries = [await sign_in(sprayer, "wrong", f"name{n}") for n in range(7)]
                assert tries == [401] * 5 + [429] * 2
            assert await sign_in(device, right) == 200, "it is known"
            assert await sign_in(other, "wrong", "name9") == 401
