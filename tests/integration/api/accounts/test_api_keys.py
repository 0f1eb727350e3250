"""API keys: a subset of what the owner may do now, for a time, shown once."""

from typing import Any

import asyncpg
import pytest

from tests.integration.api.accounts.people import a_key, a_person, add_role, bearer, in_days
from tests.integration.api.conftest import Api


async def status_of(api: Api, key: str, path: str = "/studies") -> int:
    answer = await api.anonymous.get(f"/api/v1{path}", headers=bearer(key))
    return answer.status_code


@pytest.mark.req("API-20")
async def test_a_key_does_what_it_is_made_for_and_its_owner_may_do_now(api: Api) -> None:
    await add_role(api, "clerk", "studies:read", "users:read", "destinations:read")
    clerk = await a_person(api, "clerk", "clerk")
    made = await a_key(clerk, "studies:read", "users:read")
    key = made["api_key"]
    assert key.startswith("darkroom_")
    assert made["permissions"] == ["studies:read", "users:read"]
    listed = (await clerk.ask("GET", "/api-keys")).json()["data"]
    assert [one["key_id"] for one in listed] == [made["key_id"]]
    assert "api_key" not in listed[0]
    assert listed[0]["last_used_at"] is None
    path = f"/api-keys/{made['key_id']}"
    assert (await clerk.ask("GET", path)).json() == listed[0]
    assert (await api.client.get(f"/api/v1{path}")).status_code == 404  # another's
    assert await status_of(api, key) == 200
    assert await status_of(api, key, "/users") == 200
    assert await status_of(api, key, "/destinations") == 403
    me = await api.anonymous.get("/api/v1/auth/me", headers=bearer(key))
    assert me.json()["permissions"] == ["studies:read", "users:read"]
    assert (await clerk.ask("GET", "/api-keys")).json()["data"][0]["last_used_at"]
    # The owner loses a permission: so does the key, and gets it back with the owner.
    for permissions, status in (
        (["studies:read"], 403),
        (["studies:read", "users:*"], 200),
        ([], 403),
    ):
        body = {"permissions": permissions}
        assert (await api.client.patch("/api/v1/roles/clerk", json=body)).status_code == 200
        assert await status_of(api, key, "/users") == status
    assert await status_of(api, key) == 403
    assert (await api.client.delete(f"/api/v1/users/{clerk.user_id}")).status_code == 204
    assert await status_of(api, key) == 401
    back = await api.client.patch(f"/api/v1/users/{clerk.user_id}", json={"is_active": True})
    assert back.status_code == 200
    assert await status_of(api, key) == 401  # keys end for good


@pytest.mark.req("API-20")
async def test_nobody_puts_more_into_a_key_than_they_have(api: Api) -> None:
    viewer = await a_person(api, "viewer", "viewer")
    for permissions in (["users:read"], ["*"], ["studies:*"], ["studies:read", "audit:read"]):
        body = {"name": "x", "permissions": permissions, "expires_at": in_days(1)}
        answer = await viewer.ask("POST", "/api-keys", json=body)
        assert answer.status_code == 403, permissions
    changes: list[tuple[dict[str, Any], int]] = [
        ({"expires_at": in_days(-1)}, 422),
        ({"expires_at": in_days(800)}, 422),
        ({"expires_at": "2030-01-01T00:00:00"}, 422),
        ({"expires_at": None}, 422),
        ({"permissions": []}, 422),
        ({"permissions": ["studies:fly"]}, 422),
        ({"name": ""}, 422),
        ({}, 201),
    ]
    for change, status in changes:
        body = {"name": "x", "permissions": ["studies:read"], "expires_at": in_days(1), **change}
        answer = await viewer.ask("POST", "/api-keys", json=body)
        assert answer.status_code == status, change
    without = {"name": "x", "permissions": ["studies:read"]}
    assert (await viewer.ask("POST", "/api-keys", json=without)).status_code == 422


@pytest.mark.req("API-20")
async def test_a_key_is_rotated_with_an_overlap(api: Api) -> None:
    viewer = await a_person(api, "viewer", "viewer")
    first = await a_key(viewer, "studies:read")
    path = f"/api-keys/{first['key_id']}/rotate"
    body = {"expires_at": in_days(30), "overlap_seconds": 3600}
    second = (await viewer.ask("POST", path, json=body)).json()
    assert (second["name"], second["permissions"]) == (first["name"], first["permissions"])
    assert await status_of(api, first["api_key"]) == await status_of(api, second["api_key"]) == 200
    former = next(
        one
        for one in (await viewer.ask("GET", "/api-keys")).json()["data"]
        if one["key_id"] == first["key_id"]
    )
    assert former["expires_at"] < first["expires_at"]
    path = f"/api-keys/{second['key_id']}/rotate"
    third = await viewer.ask("POST", path, json={**body, "overlap_seconds": 0})
    assert third.status_code == 201
    assert await status_of(api, second["api_key"]) == 401
    assert (await viewer.ask("POST", path, json=body)).status_code == 404


async def test_a_key_is_ended_by_its_owner_alone(api: Api) -> None:
    viewer = await a_person(api, "viewer", "viewer")
    other = await a_person(api, "other", "medical_admin")
    made = await a_key(viewer, "studies:read")
    path = f"/api-keys/{made['key_id']}"
    assert (await other.ask("DELETE", path)).status_code == 404
    assert (await other.ask("GET", "/api-keys")).json()["total"] == 0
    etag = (await viewer.ask("GET", path)).headers["etag"]
    known = {"If-None-Match": etag}
    assert (await viewer.ask("GET", path, headers=known)).status_code == 304
    assert await status_of(api, made["api_key"]) == 200
    stale = await viewer.ask("DELETE", path, headers={"If-Match": '"0.x"'})
    assert (stale.status_code, stale.json()["code"]) == (412, 4009)
    assert (await viewer.ask("DELETE", path, headers={"If-Match": etag})).status_code == 204
    assert await status_of(api, made["api_key"]) == 401
    assert (await viewer.ask("DELETE", path)).status_code == 404


@pytest.mark.req("API-20")
async def test_a_key_is_over_when_it_says_so_and_is_kept_as_a_digest(api: Api) -> None:
    viewer = await a_person(api, "viewer", "viewer")
    made = await a_key(viewer, "studies:read")
    connection = await asyncpg.connect(api.services.superuser_url)
    try:
        kept = await connection.fetchval("SELECT key_hash FROM api.api_key")
        await connection.execute("UPDATE api.api_key SET expires_at = now() - interval '1 second'")
    finally:
        await connection.close()
    assert made["api_key"].encode() not in kept
    assert len(kept) == 32
    assert await status_of(api, made["api_key"]) == 401
    for false in ("darkroom_", "darkroom_x", made["api_key"] + "x"):
        assert await status_of(api, false) == 401
    assert made["api_key"] not in api.services.running["api"].log.read_text()
