"""Signing in at a provider of OpenID Connect, which is a process of its own."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest

from darkroom_common.clock import utc_now
from darkroom_local.engines.ports import free_port
from tests.integration.api.accounts.people import add_role, add_user
from tests.integration.api.conftest import Api, running_api
from tests.support.oidc_provider import CLIENT_ID, CLIENT_SECRET
from tests.support.services import Services
from tests.support.waiting import succeeds

ROLES = {"radiology": "radiologist", "front desk": "clerk", "it": "system_admin"}
RADIA = {
    "sub": "8f1c",
    "preferred_username": "radia",
    "name": "Radia P",
    "email": "radia@example.org",
    "groups": ["radiology", "everybody"],
}


@dataclass
class Elsewhere:
    """A provider, an api that trusts it, and a browser."""

    api: Api
    browser: httpx.AsyncClient
    provider: httpx.AsyncClient
    process: asyncio.subprocess.Process

    async def tell(self, **told: Any) -> None:
        """Tell the provider what comes next; in escapes, so that no character is impossible."""
        headers = {"content-type": "application/json"}
        answer = await self.provider.post("/control", content=json.dumps(told), headers=headers)
        answer.raise_for_status()

    async def go(self, **more: str) -> str:
        """Go to the provider, sign in there, and return the address that it sends one back to."""
        away = await self.browser.get("/api/v1/auth/oidc/login", params=more)
        assert away.status_code == 302, away.text
        back = await self.browser.get(away.headers["location"])
        assert back.status_code == 302, back.text
        location: str = back.headers["location"]
        return location

    async def sign_in(self) -> httpx.Response:
        return await self.browser.get(await self.go())

    async def me(self) -> httpx.Response:
        return await self.browser.get("/api/v1/auth/me")


@pytest.fixture
async def elsewhere(services: Services) -> AsyncIterator[Elsewhere]:
    port = free_port()
    issuer = f"http://127.0.0.1:{port}"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.oidc_provider",
        str(port),
        env={"AUTHLIB_INSECURE_TRANSPORT": "1"},
        stderr=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    services.extra |= {
        "OIDC_ISSUER": issuer,
        "OIDC_CLIENT_ID": CLIENT_ID,
        "OIDC_CLIENT_SECRET": CLIENT_SECRET,
        "OIDC_ROLES": json.dumps(ROLES),
    }
    try:
        async with (
            httpx.AsyncClient(base_url=issuer, timeout=20) as provider,
            running_api(services) as api,
            httpx.AsyncClient(base_url=api.url, timeout=20) as browser,
        ):
            made = Elsewhere(api, browser, provider, process)
            await succeeds(lambda: made.tell(claims=RADIA), httpx.HTTPError)
            yield made
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.req("API-03")
async def test_somebody_signs_in_and_has_the_roles_of_their_groups(elsewhere: Elsewhere) -> None:
    await add_role(elsewhere.api, "clerk", "studies:read")
    page = await elsewhere.browser.get(await elsewhere.go(next="/worklist?page=2&sort=a"))
    assert page.status_code == 200, page.text
    assert 'url=/worklist?page=2&amp;sort=a"' in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert {"darkroom_access", "darkroom_refresh", "darkroom_csrf"} <= set(
        elsewhere.browser.cookies
    )
    assert "darkroom_oidc" not in elsewhere.browser.cookies
    me = (await elsewhere.me()).json()
    assert (me["username"], me["full_name"], me["email"]) == ("radia", "Radia P", RADIA["email"])
    assert me["roles"] == ["radiologist"]
    user = await elsewhere.api.client.get(f"/api/v1/users/{me['user_id']}")
    assert user.json()["signs_in_elsewhere"] is True
    for password in ("", "x", "somebody who does not exist"):
        refused = await elsewhere.api.sign_in("radia", password)
        assert refused.status_code in (401, 422)
    # Other groups the next time: other roles, also for the session before.
    await elsewhere.tell(claims={**RADIA, "groups": ["front desk", "it"], "name": "Radia Perl"})
    assert (await elsewhere.sign_in()).status_code == 200
    again = (await elsewhere.me()).json()
    assert again["user_id"] == me["user_id"]
    assert (again["roles"], again["full_name"]) == (["clerk", "system_admin"], "Radia Perl")
    without: list[Any] = [[], ["everybody"], "x", None, [{}]]
    for groups in without:
        await elsewhere.tell(claims={**RADIA, "groups": groups})
        assert (await elsewhere.sign_in()).status_code == 401
    assert (await elsewhere.api.client.delete(f"/api/v1/users/{me['user_id']}")).status_code == 204
    await elsewhere.tell(claims=RADIA)
    assert (await elsewhere.sign_in()).status_code == 401


async def test_nobody_becomes_somebody_else_by_a_name(elsewhere: Elsewhere) -> None:
    for claims in (
        {**RADIA, "preferred_username": "ADMIN"},
        {**RADIA, "preferred_username": "admin "},
    ):
        await elsewhere.tell(claims=claims)
        assert (await elsewhere.sign_in()).status_code == 401
    await add_user(elsewhere.api, "local")
    await elsewhere.tell(claims={**RADIA, "email": "LOCAL@example.org"})
    assert (await elsewhere.sign_in()).status_code == 200
    assert (await elsewhere.me()).json()["email"] == ""  # it stays whose it was
    await elsewhere.tell(claims={**RADIA, "sub": "another"})
    assert (await elsewhere.sign_in()).status_code == 401


async def test_what_only_the_user_information_says_is_asked_for(elsewhere: Elsewhere) -> None:
    hidden = ["groups", "preferred_username"]
    await elsewhere.tell(claims=RADIA, in_userinfo_only=hidden)
    assert (await elsewhere.sign_in()).status_code == 200
    assert (await elsewhere.me()).json()["roles"] == ["radiologist"]
    await elsewhere.tell(claims=RADIA, in_userinfo_only=hidden, fault="userinfo")
    assert (await elsewhere.sign_in()).status_code == 401


@pytest.mark.req("API-03")
async def test_no_false_token_signs_anybody_in(elsewhere: Elsewhere) -> None:
    now = int(utc_now().timestamp())
    faults: list[dict[str, Any]] = [
        *({"fault": one} for one in ("another key", "hs256", "none")),
        *(
            {"of_id_token": one}
            for one in (
                {"iss": "https://elsewhere.example"},
                {"iss": None},
                {"aud": "another"},
                {"aud": [CLIENT_ID, "another"]},
                {"azp": "another"},
                {"aud": None},
                {"nonce": "another"},
                {"nonce": None},
                {"nonce": [1]},
                {"sub": "a\x00b"},
                {"exp": now - 120},
                {"exp": None},
                {"exp": "tomorrow"},
                {"iat": now + 3600},
                {"iat": now - 3600},
                {"sub": ""},
                {"sub": None},
            )
        ),
    ]
    for fault in faults:
        await elsewhere.tell(claims=RADIA, **fault)
        answer = await elsewhere.sign_in()
        assert (answer.status_code, answer.json()["code"]) == (401, 1001), fault
        assert (await elsewhere.me()).status_code == 401, fault
    await elsewhere.tell(claims=RADIA, of_id_token={"aud": [CLIENT_ID, "x"], "azp": CLIENT_ID})
    assert (await elsewhere.sign_in()).status_code == 200


async def test_the_provider_changes_its_keys(elsewhere: Elsewhere) -> None:
    assert (await elsewhere.sign_in()).status_code == 200
    for _ in range(2):
        await elsewhere.tell(claims=RADIA, rotate=True)
        assert (await elsewhere.sign_in()).status_code == 200


async def test_a_browser_brings_only_what_it_was_given(elsewhere: Elsewhere) -> None:
    back = await elsewhere.go()
    asked = {name: values[0] for name, values in parse_qs(urlsplit(back).query).items()}
    callback = "/api/v1/auth/oidc/callback"
    for change in (
        {"state": "another"},
        {"state": None},
        {"code": "another"},
        {"code": None},
        {"iss": "https://elsewhere.example"},
        {"error": "access_denied"},
    ):
        changed = {k: v for k, v in {**asked, **change}.items() if v is not None}
        answer = await elsewhere.browser.get(callback, params=changed)
        assert answer.status_code == 401, change
        assert not any(value in answer.text for value in asked.values())
    # Of another browser: a stolen address signs nobody in.
    stolen = await elsewhere.api.anonymous.get(back)
    assert stolen.status_code == 401
    first = await elsewhere.browser.get(back)
    assert first.status_code == 200, first.text
    assert (await elsewhere.browser.get(back)).status_code == 401  # once
    # PKCE: the code is worth nothing to whoever has not begun.
    again = await elsewhere.go()
    code = parse_qs(urlsplit(again).query)["code"][0]
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": f"{elsewhere.api.url}{callback}",
        "code_verifier": "x" * 43,
    }
    secret = (CLIENT_ID, quote(CLIENT_SECRET, safe=""))
    taken = await elsewhere.provider.post("/token", data=form, auth=secret)
    assert (taken.status_code, taken.json()["error"]) == (400, "invalid_grant")


async def test_nobody_is_sent_elsewhere(elsewhere: Elsewhere) -> None:
    for path in ("//elsewhere.example", "/\\elsewhere", "https://x", "x", "/a b", '/"'):
        answer = await elsewhere.browser.get("/api/v1/auth/oidc/login", params={"next": path})
        assert answer.status_code == 422, path


async def test_the_last_administrator_does_not_lose_the_right_there(elsewhere: Elsewhere) -> None:
    await elsewhere.tell(claims={**RADIA, "groups": ["it"]})
    assert (await elsewhere.sign_in()).status_code == 200
    admin = elsewhere.api.tokens["user"]["user_id"]
    assert (await elsewhere.api.client.delete(f"/api/v1/users/{admin}")).status_code == 204
    await elsewhere.tell(claims=RADIA)
    answer = await elsewhere.sign_in()
    assert (answer.status_code, answer.json()["detail"]) == (409, "This is the last administrator.")
    assert (await elsewhere.me()).json()["roles"] == ["system_admin"]


async def test_a_provider_that_is_another_or_away_signs_nobody_in(elsewhere: Elsewhere) -> None:
    await elsewhere.tell(fault="issuer")
    other = await elsewhere.browser.get("/api/v1/auth/oidc/login")
    assert (other.status_code, other.json()["code"]) == (503, 5003)
    await elsewhere.tell()
    back = await elsewhere.go()
    elsewhere.process.kill()
    await elsewhere.process.wait()
    away = await elsewhere.browser.get(back)
    assert (away.status_code, away.json()["code"]) == (503, 5003)
    assert (await elsewhere.api.client.get("/api/v1/auth/me")).status_code == 200
