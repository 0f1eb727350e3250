"""Signing in, sessions, permissions, and what errors tell."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from argon2 import PasswordHasher, extract_parameters

from darkroom_api.accounts.passwords import Passwords
from darkroom_api.accounts.tokens import AccessTokens
from darkroom_common.postgres.phi import decode_key
from tests.integration.api.conftest import Api
from tests.support.builders import a_data_set
from tests.support.services import role_url

MEMBERS = {"type", "title", "status", "detail", "code", "name", "request_id", "errors"}
PASSWORD = "a long enough password"


async def add_user(api: Api, username: str, role: str) -> UUID:
    """Add a user as the service's own role may."""
    connection = await asyncpg.connect(role_url(api.services.superuser_url, "darkroom_api"))
    try:
        user: UUID = await connection.fetchval(
            "INSERT INTO api.app_user (username, username_key, password_hash)"
            " VALUES ($1, $1, $2) RETURNING id",
            username,
            PasswordHasher(time_cost=1, memory_cost=8192).hash(PASSWORD),
        )
        await connection.execute(
            "INSERT INTO api.user_role (user_id, role) VALUES ($1, $2)", user, role
        )
        return user
    finally:
        await connection.close()


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def me(api: Api, token: str) -> httpx.Response:
    return await api.anonymous.get("/api/v1/auth/me", headers=bearer(token))


async def refresh(api: Api, token: str) -> httpx.Response:
    return await api.anonymous.post("/api/v1/auth/refresh", json={"refresh_token": token})


@pytest.mark.req("API-01")
async def test_the_first_administrator_signs_in(api: Api) -> None:
    assert api.tokens["token_type"] == "Bearer"
    assert api.tokens["expires_in"] == 28800
    answer = await api.client.get("/api/v1/auth/me")
    assert answer.json()["username"] == "admin"
    assert answer.json()["permissions"] == ["*"]
    assert api.tokens["user"] == answer.json()
    again = (await refresh(api, api.tokens["refresh_token"])).json()
    assert again["user"] == answer.json()
    assert (await api.sign_in("ADMIN", api.services.admin_password)).status_code == 200
    wrong = await api.sign_in("admin", "wrong")
    unknown = await api.sign_in("nobody", "wrong")
    assert wrong.status_code == unknown.status_code == 401
    one, other = wrong.json(), unknown.json()
    assert (one["code"], one["name"]) == (1001, "INVALID_CREDENTIALS")
    assert (one["detail"], one["title"], one["status"]) == (
        "Invalid credentials",
        "Unauthorized",
        401,
    )
    assert {**one, "request_id": ""} == {**other, "request_id": ""}


@pytest.mark.req("API-03")
async def test_a_hash_of_other_costs_is_made_anew_by_whoever_signs_in(api: Api) -> None:
    user = await add_user(api, "early", "viewer")
    db = await asyncpg.connect(api.services.superuser_url)
    try:
        kept = "SELECT password_hash FROM api.app_user WHERE id = $1"
        before = await db.fetchval(kept, user)
        assert (await api.sign_in("early", "wrong")).status_code == 401
        assert await db.fetchval(kept, user) == before
        both = await asyncio.gather(*(api.sign_in("early", PASSWORD) for _ in range(2)))
        assert [one.status_code for one in both] == [200, 200]
        after = await db.fetchval(kept, user)
        usual = extract_parameters(Passwords()._dummy)
        assert extract_parameters(before) != extract_parameters(after) == usual
        assert (await api.sign_in("early", PASSWORD)).status_code == 200
        assert await db.fetchval(kept, user) == after
    finally:
        await db.close()


@pytest.mark.req("API-01")
async def test_a_refresh_token_works_once_and_reuse_ends_the_family(api: Api) -> None:
    first = (await api.sign_in("admin", api.services.admin_password)).json()
    second = (await refresh(api, first["refresh_token"])).json()
    assert (await me(api, second["access_token"])).status_code == 200
    reused = await refresh(api, first["refresh_token"])
    assert reused.status_code == 401
    for token in (first["access_token"], second["access_token"]):
        assert (await me(api, token)).status_code == 401
    assert (await refresh(api, second["refresh_token"])).status_code == 401
    assert (await api.client.get("/api/v1/auth/me")).status_code == 200  # another session


async def test_two_refreshes_at_once_do_not_make_two_families(api: Api) -> None:
    first = (await api.sign_in("admin", api.services.admin_password)).json()
    answers = await asyncio.gather(*(refresh(api, first["refresh_token"]) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 7
    won = next(answer for answer in answers if answer.status_code == 200).json()
    assert (await me(api, won["access_token"])).status_code == 401  # two hands: nobody's
    assert (await refresh(api, won["refresh_token"])).status_code == 401


async def test_logout_ends_the_session_at_once(api: Api) -> None:
    tokens = (await api.sign_in("admin", api.services.admin_password)).json()
    access = tokens["access_token"]
    assert (await me(api, access)).status_code == 200
    answer = await api.anonymous.post("/api/v1/auth/logout", headers=bearer(access))
    assert answer.json() == {"message": "Successfully logged out"}
    assert (await me(api, access)).status_code == 401
    assert (await refresh(api, tokens["refresh_token"])).status_code == 401


async def test_five_failures_lock_a_name_known_or_not(api: Api) -> None:
    await add_user(api, "radia", "radiologist")
    for name in ("radia", "ghost"):
        failures = await asyncio.gather(*(api.sign_in(name, "wrong") for _ in range(5)))
        assert {answer.status_code for answer in failures} == {401}
    refused = [await api.sign_in(name, PASSWORD) for name in ("radia", "ghost", "RADIA ")]
    for answer in refused:
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "60"
        assert answer.json()["code"] == 1005
        assert answer.json()["detail"] == "Too many login attempts. Try again in 60 seconds."
    assert len({re.sub("request_id.*", "", answer.text) for answer in refused}) == 1
    async with api.seed.database.acquire() as db:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await db.execute("SELECT * FROM api.login_attempt")  # metadata's role may not
    connection = await asyncpg.connect(api.services.superuser_url)
    age = "UPDATE api.login_attempt SET last_at = now() - interval '61 seconds'"
    await connection.execute(age)
    tries = [(await api.sign_in("radia", "wrong")).status_code for _ in range(2)]
    assert tries == [401, 429]  # one try a minute is left
    await connection.execute(age)
    await connection.close()
    assert (await api.sign_in("radia", PASSWORD)).status_code == 200
    assert (await api.sign_in("radia", "wrong")).status_code == 401  # the count began anew


@pytest.mark.req("API-03")
async def test_of_many_tries_at_once_five_are_looked_at(api: Api) -> None:
    answers = await asyncio.gather(*(api.sign_in("burst", "wrong") for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [401] * 5 + [429] * 15


async def test_an_expired_token_of_ours_is_told_from_a_false_one(api: Api) -> None:
    class LongAgo:
        def now(self) -> datetime:
            return datetime.now(UTC) - timedelta(hours=9)

        def monotonic(self) -> float:
            return 0.0

    key = decode_key(api.services.secrets["JWT_KEY"], setting="JWT_KEY")
    given: dict[str, Any] = {
        "user_id": uuid4(),
        "username": "x",
        "roles": [],
        "session_id": uuid4(),
    }
    expired = AccessTokens(key, LongAgo()).issue(**given)
    answer = await me(api, expired)
    assert (answer.status_code, answer.json()["code"]) == (401, 1002)
    false = await me(api, AccessTokens(b"x" * 32, LongAgo()).issue(**given))
    assert (false.status_code, false.json()["code"]) == (401, 1003)


async def test_token_faults_all_look_the_same(api: Api) -> None:
    good = api.tokens["access_token"]
    bodies = set()
    for header in (
        {},
        {"authorization": "Bearer"},
        {"authorization": "Basic YTpi"},
        bearer("x"),
        bearer(good[:-4] + "AAAA"),
        bearer("a.b.c"),
        bearer(good + "."),
        bearer("ü" * 10),
        bearer("A" * 60000),
        {**bearer(good), "Authorization": f"Bearer {good}"},  # twice: of which is one to be sure?
    ):
        encoded = [(name.encode(), value.encode()) for name, value in header.items()]
        answer = await api.anonymous.get("/dicom-web/studies", headers=encoded)
        assert answer.status_code == 401, header
        assert answer.headers["www-authenticate"].startswith("Bearer")
        bodies.add(re.sub(r'"request_id":"[^"]*"', "", answer.text))
    assert len(bodies) == 1


@pytest.mark.req("API-10")
async def test_errors_have_one_form_and_echo_nothing(api: Api) -> None:
    secret = "Planted^Secret"
    cases = [
        await api.client.get("/api/v1/studies", params={"page": secret}),
        await api.client.get("/api/v1/studies", params={"cursor": secret}),
        await api.client.get("/api/v1/studies", params={"page_size": 201}),
        await api.client.get("/api/v1/studies", params={"status": secret}),
        await api.client.get("/api/v1/studies", params={"start_date": secret}),
        await api.client.get("/api/v1/studies", params={"patient_name": secret * 100}),
        await api.anonymous.post("/api/v1/auth/login", json={"username": {secret: secret}}),
        await api.anonymous.post("/api/v1/auth/login", content=secret),
        await api.anonymous.post("/api/v1/auth/login", content=b"x" * 100_000),
        await api.client.get("/dicom-web/studies", params={"StudyDate": secret}),
        await api.client.get(f"/{secret}"),
        await api.client.delete("/api/v1/studies"),
    ]
    for answer in cases:
        assert 400 <= answer.status_code < 500
        assert secret not in answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        error = answer.json()
        assert set(error) == MEMBERS
        assert error["status"] == answer.status_code
        assert answer.headers["x-request-id"] == error["request_id"]
    kept = await api.client.get("/nothing", headers={"x-request-id": "abc-1"})
    assert kept.json()["request_id"] == "abc-1"
    made = await api.client.get("/nothing", headers={"x-request-id": "no spaces, please"})
    assert re.fullmatch(r"[0-9a-f]{32}", made.headers["x-request-id"])
    log = api.services.running["api"].log.read_text()
    assert "Planted" not in log
    assert api.services.admin_password not in log


async def test_the_documentation_needs_nothing_from_elsewhere(api: Api) -> None:
    document = (await api.anonymous.get("/openapi.json")).json()
    assert (
        "/dicom-web/studies/{study}/series/{series}/instances/{instance}/frames/{frames}"
        in (document["paths"])
    )
    assert not any(path.startswith(("/metrics", "/docs")) for path in document["paths"])
    assert document["paths"]["/api/v1/studies"]["get"]["x-permission"] == "studies:read"
    page = await api.anonymous.get("/docs")
    policy = dict(
        part.split(maxsplit=1) for part in page.headers["content-security-policy"].split("; ")
    )
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assets = re.findall(r'(?:src|href)="(docs/[^"]+)"', page.text)
    assert len(assets) == 3
    answers = [await api.anonymous.get(f"/{asset}") for asset in assets]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert "SwaggerUIBundle" in answers[1].text
    own = [page.text, answers[2].text]
    assert not any("http://" in text or "https://" in text for text in own)
    assert (await api.anonymous.get("/docs/redoc.standalone.js")).status_code == 404


async def test_a_study_in_the_list_and_in_detail(api: Api) -> None:
    await api.seed.add(
        a_data_set(PatientName="Doe^Jane", PatientID="J1", StudyDate="20240101"),
        a_data_set(PatientName="Roe^Jim", PatientID="J2", Modality="MR", StudyDate="20230101"),
    )
    for query, names in (
        ({}, ["Doe^Jane", "Roe^Jim"]),
        ({"patient_name": "jan"}, ["Doe^Jane"]),
        ({"patient_name": "*oe^J*"}, ["Doe^Jane", "Roe^Jim"]),
        ({"patient_id": "J2"}, ["Roe^Jim"]),
        ({"modality": "MR"}, ["Roe^Jim"]),
        ({"modality": "MR,CT"}, ["Doe^Jane", "Roe^Jim"]),
        ({"start_date": "2023-06-01"}, ["Doe^Jane"]),
        ({"end_date": "2023-06-01"}, ["Roe^Jim"]),
        ({"status": "verified"}, []),
        ({"page_size": 1, "page": 2}, ["Roe^Jim"]),
        ({"page_size": 200}, ["Doe^Jane", "Roe^Jim"]),
    ):
        answer = await api.client.get("/api/v1/studies", params=query)
        assert [one["patient_name"] for one in answer.json()["data"]] == names, query
    page = (await api.client.get("/api/v1/studies", params={"page_size": 1})).json()
    assert (page["total"], page["page"], page["page_size"]) == (2, 1, 1)
    uid = page["data"][0]["study_instance_uid"]
    detail = (await api.client.get(f"/api/v1/studies/{uid}")).json()
    assert detail["series"][0]["modality"] == "CT"
    assert detail["conflicts"] == []
    assert (await api.client.get("/api/v1/studies/1.2.3")).status_code == 404
