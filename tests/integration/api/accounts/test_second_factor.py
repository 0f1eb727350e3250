"""Signing in with a code: set up, asked for, taken once, and what is left when it is lost."""

import asyncio
import base64
from typing import Any

import asyncpg
import pytest

from darkroom_api.accounts.totp import PERIOD, code_at
from darkroom_common.clock import utc_now
from tests.integration.api.accounts.people import PASSWORD, Person, a_person
from tests.integration.api.conftest import Api


def code_of(secret: str, later: int = 0) -> str:
    raw = base64.b32decode(secret + "=" * (-len(secret) % 8))
    return code_at(raw, int(utc_now().timestamp()) // PERIOD + later)


async def sign_in(api: Api, name: str, code: str | None = None, password: str = PASSWORD) -> Any:
    body = {"username": name, "password": password}
    if code is not None:
        body["code"] = code
    return await api.anonymous.post("/api/v1/auth/login", json=body)


async def set_up(person: Person) -> tuple[str, list[str]]:
    """Put a second factor in force with a code of 30 s ago, so that the one of now is left."""
    begun = await person.ask("POST", "/auth/totp", json={"password": PASSWORD})
    assert begun.status_code == 200, begun.text
    secret = begun.json()["secret"]
    assert secret in begun.json()["uri"]
    code = {"code": code_of(secret, -1)}
    confirmed = await person.ask("POST", "/auth/totp/confirm", json=code)
    assert confirmed.status_code == 200, confirmed.text
    return secret, confirmed.json()["recovery_codes"]


@pytest.mark.req("API-03")
async def test_a_code_is_needed_and_taken_once(api: Api) -> None:
    person = await a_person(api, "radia", "viewer")
    elsewhere = (await sign_in(api, "radia")).json()
    secret, recovery = await set_up(person)
    assert len(set(recovery)) == 10
    ended = await api.anonymous.post(
        "/api/v1/auth/refresh", json={"refresh_token": elsewhere["refresh_token"]}
    )
    assert ended.status_code == 401
    needed = await sign_in(api, "radia")
    assert (needed.status_code, needed.json()["code"]) == (401, 1006)
    assert needed.json()["name"] == "SECOND_FACTOR_REQUIRED"
    wrong = await sign_in(api, "radia", code_of(secret), password="wrong")
    assert (wrong.status_code, wrong.json()["code"]) == (401, 1001)
    code = code_of(secret)
    answers = await asyncio.gather(*(sign_in(api, "radia", code) for _ in range(2)))
    assert sorted(answer.status_code for answer in answers) == [200, 401]
    replayed = await sign_in(api, "radia", code)
    assert (replayed.status_code, replayed.json()["code"]) == (401, 1001)
    earlier = await sign_in(api, "radia", code_of(secret, -1))
    assert earlier.status_code == 401


async def test_a_recovery_code_is_taken_once_however_it_is_typed(api: Api) -> None:
    person = await a_person(api, "radia", "viewer")
    _, recovery = await set_up(person)
    typed = recovery[0].lower().replace("-", " ")
    assert (await sign_in(api, "radia", typed)).status_code == 200
    assert (await sign_in(api, "radia", recovery[0])).status_code == 401
    assert (await sign_in(api, "radia", recovery[1])).status_code == 200
    assert (await sign_in(api, "radia", "000000")).status_code == 401
    assert (await sign_in(api, "radia", "ü" * 6)).status_code == 401


async def test_guessing_codes_locks_like_guessing_passwords(api: Api) -> None:
    person = await a_person(api, "radia", "viewer")
    await set_up(person)
    tried = [(await sign_in(api, "radia", f"00000{n}")).status_code for n in range(7)]
    assert tried == [401] * 5 + [429] * 2


async def test_setting_up_takes_the_password_and_removing_both(api: Api) -> None:
    person = await a_person(api, "radia", "viewer")
    wrong = await person.ask("POST", "/auth/totp", json={"password": "wrong"})
    assert (wrong.status_code, wrong.json()["code"]) == (401, 1001)
    early = await person.ask("POST", "/auth/totp/confirm", json={"code": "123456"})
    assert early.status_code == 422
    assert (await sign_in(api, "radia")).status_code == 200  # not in force before it is confirmed
    secret, _ = await set_up(person)
    again = await person.ask("POST", "/auth/totp", json={"password": PASSWORD})
    assert again.status_code == 409
    without = {"password": PASSWORD, "code": "000000"}
    assert (await person.ask("DELETE", "/auth/totp", json=without)).status_code == 401
    both = {"password": PASSWORD, "code": code_of(secret)}
    assert (await person.ask("DELETE", "/auth/totp", json=both)).status_code == 204
    assert (await sign_in(api, "radia")).status_code == 200
    assert (await person.ask("DELETE", "/auth/totp", json=both)).status_code == 404


async def test_who_knows_the_password_cannot_guess_the_code_to_remove_it(api: Api) -> None:
    person = await a_person(api, "radia", "viewer")
    secret, _ = await set_up(person)
    wrong = {"password": PASSWORD, "code": "000000"}
    tried = [(await person.ask("DELETE", "/auth/totp", json=wrong)).status_code for _ in range(7)]
    assert tried == [401] * 5 + [429] * 2
    right = {"password": PASSWORD, "code": code_of(secret)}
    assert (await person.ask("DELETE", "/auth/totp", json=right)).status_code == 429
    asked = {"action": "AUTH_FAILED", "user_id": person.user_id}
    kept = await api.client.get("/api/v1/audit-logs", params=asked)
    assert kept.json()["total"] == 5


async def test_an_administrator_helps_who_has_lost_it(api: Api) -> None:
    person = await a_person(api, "radia", "viewer")
    await set_up(person)
    other = await a_person(api, "visitor", "viewer")
    path = f"/users/{person.user_id}/totp"
    assert (await other.ask("DELETE", path)).status_code == 403
    shown = await api.client.get(f"/api/v1/users/{person.user_id}")
    assert shown.json()["second_factor"] is True
    assert (await api.client.delete(f"/api/v1{path}")).status_code == 204
    assert (await person.ask("GET", "/auth/me")).status_code == 401
    assert (await sign_in(api, "radia")).status_code == 200


async def test_the_secret_is_sealed_and_codes_are_digests(api: Api) -> None:
    person = await a_person(api, "radia", "viewer")
    secret, recovery = await set_up(person)
    connection = await asyncpg.connect(api.services.superuser_url)
    try:
        kept = await connection.fetchval("SELECT sealed FROM api.totp")
        codes = await connection.fetch("SELECT code_hash FROM api.recovery_code")
    finally:
        await connection.close()
    assert kept.startswith("s1.1.")
    assert secret not in kept
    assert len(codes) == 10
    assert not any(code.encode() in row["code_hash"] for row in codes for code in recovery)
    log = api.services.running["api"].log.read_text()
    assert not any(text in log for text in (secret, *recovery, PASSWORD))


async def test_a_code_is_a_short_text(api: Api) -> None:
    for code in ("", "x" * 65, 123456, None):
        answer = await api.client.post("/api/v1/auth/totp/confirm", json={"code": code})
        assert answer.status_code == 422, code
