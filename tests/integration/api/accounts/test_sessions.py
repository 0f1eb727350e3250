"""Sessions: of browsers by cookies, listed and ended, the own password."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.cookies import SimpleCookie
from typing import Any

import asyncpg
import httpx
import pytest

from tests.integration.api.accounts.people import PASSWORD, a_person, add_user, bearer
from tests.integration.api.conftest import Api, running_api
from tests.support.services import Services

NEW = "Another-Horse-8"


@asynccontextmanager
async def browser_session(api: Api, username: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client that has signed in as a browser does: what it knows is in its cookies."""
    async with httpx.AsyncClient(base_url=f"{api.url}/api/v1", timeout=20) as browser:
        body = {"username": username, "password": PASSWORD, "browser": True}
        answer = await browser.post("/auth/login", json=body)
        assert answer.status_code == 200, answer.text
        assert set(answer.json()) == {"expires_in", "csrf_token", "user"}
        browser.headers["x-csrftoken"] = answer.json()["csrf_token"]
        yield browser


async def execute(api: Api, statement: str, *values: Any) -> None:
    connection = await asyncpg.connect(api.services.superuser_url)
    try:
        await connection.execute(statement, *values)
    finally:
        await connection.close()


def cookies_of(answer: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in answer.headers.get_list("set-cookie"):
        found.update(SimpleCookie(text))
    return found


@pytest.mark.parametrize("behind", ["http", "https"])
async def test_no_script_and_no_other_site_has_the_tokens(api: Api, behind: str) -> None:
    await add_user(api, "radia", "viewer")
    body = {"username": "radia", "password": PASSWORD, "browser": True}
    given = {"x-forwarded-proto": behind}
    answer = await api.anonymous.post("/api/v1/auth/login", json=body, headers=given)
    found = cookies_of(answer)
    assert set(found) == {"darkroom_access", "darkroom_refresh", "darkroom_csrf", "darkroom_device"}
    for name, cookie in found.items():
        assert cookie["samesite"] == "strict"
        assert bool(cookie["httponly"]) is (name != "darkroom_csrf")
        assert '"' not in cookie.coded_value  # scripts hand on what they read
        assert not cookie["secure"]  # nobody trusts that header of anybody
    assert not any(
        found[name].value in answer.text for name in ("darkroom_access", "darkroom_refresh")
    )


async def test_what_changes_something_needs_the_header(api: Api) -> None:
    await add_user(api, "radia", "medical_admin")
    async with browser_session(api, "radia") as browser:
        right = browser.headers.pop("x-csrftoken")
        assert (await browser.get("/auth/me")).json()["username"] == "radia"
        async with browser_session(api, "radia") as second:
            another = second.headers["x-csrftoken"]
        for header in ({}, {"x-csrftoken": "x"}, {"x-csrftoken": another}):
            for method, path in (("POST", "/roles"), ("DELETE", "/roles/x"), ("PATCH", "/roles/x")):
                answer = await browser.request(method, path, headers=header)
                assert answer.status_code == 403
                assert answer.json()["detail"] == "The header X-CSRFToken is missing or wrong."
            assert (await browser.post("/auth/refresh", headers=header)).status_code == 403
        made = await browser.post(
            "/roles", json={"role_name": "x", "permissions": []}, headers={"x-csrftoken": right}
        )
        assert made.status_code == 201
        # A header says who asks, whatever cookies come along: no other site can make one.
        of_admin = bearer(api.tokens["access_token"])
        assert (await browser.delete("/roles/x", headers=of_admin)).status_code == 204
        assert (await browser.get("/auth/me", headers=bearer("x"))).status_code == 401


async def test_a_browser_goes_on_and_signs_out(api: Api) -> None:
    await add_user(api, "radia", "viewer")
    async with browser_session(api, "radia") as browser:
        before = browser.cookies["darkroom_access"], browser.cookies["darkroom_refresh"]
        again = await browser.post("/auth/refresh")
        assert again.status_code == 200
        assert browser.cookies["darkroom_access"] != before[0]
        assert browser.cookies["darkroom_refresh"] != before[1]
        assert again.json()["csrf_token"] == browser.headers["x-csrftoken"]
        kept = dict(browser.cookies)
        assert (await browser.post("/auth/logout")).status_code == 200
        assert set(browser.cookies) == {"darkroom_device"}
        for name in ("darkroom_access", "darkroom_refresh", "darkroom_csrf"):
            browser.cookies.set(name, kept[name])
        assert (await browser.get("/auth/me")).status_code == 401
        assert (await browser.post("/auth/refresh")).status_code == 401
    nothing = await api.anonymous.post("/api/v1/auth/refresh")
    assert (nothing.status_code, nothing.json()["code"]) == (401, 1003)


async def test_a_browser_is_signed_out_after_8_hours_without_a_request(api: Api) -> None:
    person = await a_person(api, "radia", "viewer")
    age = "UPDATE api.session SET last_at = now() - $1::text::interval"
    async with browser_session(api, "radia") as browser:
        await execute(api, age, "7 hours 59 minutes")
        assert (await browser.get("/auth/me")).status_code == 200  # and seen now
        await execute(api, age, "8 hours 1 minute")
        await person.ask("POST", "/auth/logout")  # of another: nothing is taken from memory
        assert (await browser.get("/auth/me")).status_code == 401
        assert (await browser.post("/auth/refresh")).status_code == 401
    other = (await api.sign_in("radia", PASSWORD)).json()
    await execute(api, age, "9 hours")
    answer = await api.anonymous.get("/api/v1/auth/me", headers=bearer(other["access_token"]))
    assert answer.status_code == 200  # a program's session ends with its tokens


async def test_sessions_are_listed_and_ended(api: Api) -> None:
    person = await a_person(api, "radia", "viewer")
    other = await a_person(api, "visitor", "viewer")
    async with browser_session(api, "radia") as browser:
        listed = (await person.ask("GET", "/auth/sessions")).json()
        assert listed["total"] == 2
        newest, oldest = listed["data"]
        assert (newest["browser"], newest["current"]) == (True, False)
        assert (oldest["browser"], oldest["current"]) == (False, True)
        assert newest["address"] == "127.0.0.1"
        assert newest["user_agent"].startswith("python-httpx")
        path = f"/auth/sessions/{newest['session_id']}"
        assert (await other.ask("DELETE", path)).status_code == 404
        assert (await browser.get("/auth/me")).status_code == 200
        assert (await person.ask("DELETE", path)).status_code == 204
        assert (await browser.get("/auth/me")).status_code == 401
        assert (await person.ask("DELETE", path)).status_code == 404
    assert (await person.ask("GET", "/auth/sessions")).json()["total"] == 1
    assert (await person.ask("DELETE", "/auth/sessions/x")).status_code == 422


async def test_a_new_password_ends_all_other_sessions(api: Api) -> None:
    person = await a_person(api, "radia", "viewer")
    other = (await api.sign_in("radia", PASSWORD)).json()
    body = {"current_password": PASSWORD, "new_password": NEW}
    for wrong, status in (
        ({**body, "current_password": "wrong"}, 401),
        ({**body, "new_password": "Short-1"}, 422),
        ({**body, "new_password": "Radia-2026!"}, 422),
        ({**body, "new_password": PASSWORD}, 422),
        ({"new_password": NEW}, 422),
    ):
        assert (await person.ask("POST", "/auth/password", json=wrong)).status_code == status
    answers = await asyncio.gather(
        *(person.ask("POST", "/auth/password", json=body) for _ in range(2))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 401]
    assert (await person.ask("GET", "/auth/me")).status_code == 200
    of_other = bearer(other["access_token"])
    assert (await api.anonymous.get("/api/v1/auth/me", headers=of_other)).status_code == 401
    refused = await api.anonymous.post(
        "/api/v1/auth/refresh", json={"refresh_token": other["refresh_token"]}
    )
    assert refused.status_code == 401
    assert (await api.sign_in("radia", PASSWORD)).status_code == 401
    assert (await api.sign_in("radia", NEW)).status_code == 200


async def test_whoever_holds_a_token_does_not_guess_the_password(api: Api) -> None:
    person = await a_person(api, "radia", "viewer")
    body = {"current_password": "wrong", "new_password": NEW}
    tried = [(await person.ask("POST", "/auth/password", json=body)) for _ in range(6)]
    assert [answer.status_code for answer in tried] == [401] * 5 + [429]
    right = {**body, "current_password": PASSWORD}
    assert (await person.ask("POST", "/auth/password", json=right)).status_code == 429
    assert (await api.sign_in("radia", PASSWORD)).status_code == 200  # signing in is not locked


@pytest.mark.req("API-01")
async def test_a_refresh_token_is_good_for_seven_days(api: Api) -> None:
    person = await a_person(api, "radia", "viewer")
    earlier = "UPDATE api.refresh_token SET expires_at = expires_at - interval"
    again = {"refresh_token": person.tokens["refresh_token"]}
    await execute(api, f"{earlier} '6 days 23 hours'")
    answer = await api.anonymous.post("/api/v1/auth/refresh", json=again)
    assert answer.status_code == 200
    await execute(api, f"{earlier} '7 days'")
    again = {"refresh_token": answer.json()["refresh_token"]}
    assert (await api.anonymous.post("/api/v1/auth/refresh", json=again)).status_code == 401


async def test_no_session_goes_on_for_ever(api: Api) -> None:
    person = await a_person(api, "radia", "viewer")
    again = {"refresh_token": person.tokens["refresh_token"]}
    await execute(api, "UPDATE api.session SET created_at = now() - interval '31 days'")
    assert (await api.anonymous.post("/api/v1/auth/refresh", json=again)).status_code == 401


async def test_an_administrator_ends_the_sessions_of_somebody(api: Api) -> None:
    person = await a_person(api, "radia", "viewer")
    other = await a_person(api, "visitor", "viewer")
    path = f"/users/{person.user_id}/sessions"
    assert (await other.ask("DELETE", path)).status_code == 403
    assert (await person.ask("GET", "/auth/me")).status_code == 200
    assert (await api.client.delete(f"/api/v1{path}")).status_code == 204
    assert (await person.ask("GET", "/auth/me")).status_code == 401
    assert (await other.ask("GET", "/auth/me")).status_code == 200


async def test_behind_https_cookies_are_of_this_host_alone(services: Services) -> None:
    services.extra["PUBLIC_URL"] = "https://pacs.example.org"
    async with running_api(services) as api:
        await add_user(api, "radia", "viewer")
        body = {"username": "radia", "password": PASSWORD, "browser": True}
        answer = await api.anonymous.post("/api/v1/auth/login", json=body)
        found = cookies_of(answer)
        assert all(cookie["secure"] for cookie in found.values())
        prefixed = {f"__Host-darkroom_{name}" for name in ("access", "refresh", "csrf")}
        assert set(found) == {*prefixed, "darkroom_device"}
        assert all(found[name]["path"] == "/" and not found[name]["domain"] for name in prefixed)
        token = found["__Host-darkroom_access"].value
        for name, status in (("__Host-darkroom_access", 200), ("darkroom_access", 401)):
            given = {"cookie": f"{name}={token}"}
            assert (await api.anonymous.get("/api/v1/auth/me", headers=given)).status_code == status
