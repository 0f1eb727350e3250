"""Users and roles by REST: who may change what, and that somebody is always left to do it."""

import asyncio
from typing import Any

import pytest

from darkroom_api.accounts.permissions import ROLES
from tests.integration.api.accounts.people import (
    PASSWORD,
    Person,
    a_key,
    a_person,
    add_role,
    add_user,
    bearer,
)
from tests.integration.api.conftest import Api


def a_body(name: str, **more: Any) -> dict[str, Any]:
    return {
        "username": name,
        "email": f"{name}@example.org",
        "full_name": "Some One",
        "password": PASSWORD,
        **more,
    }


async def roles_of(api: Api, user_id: str) -> list[str]:
    found: list[str] = (await api.client.get(f"/api/v1/users/{user_id}")).json()["roles"]
    return found


@pytest.mark.req("API-06")
async def test_a_user_is_added_shown_changed_and_deactivated(api: Api) -> None:
    body = a_body("doctor@hospital.com", email="Doctor@hospital.com", roles=["radiologist"])
    made = await api.client.post("/api/v1/users", json=body)
    assert made.status_code == 201, made.text
    user = made.json()
    assert "password" not in user
    assert (user["roles"], user["is_active"]) == (["radiologist"], True)
    assert user["last_login"] is None
    assert user["created_at"].endswith("Z")
    path = made.headers["location"]
    shown = await api.client.get(path)
    assert shown.json() == user
    etag = shown.headers["etag"]
    known = await api.client.get(path, headers={"if-none-match": etag})
    assert known.status_code == 304
    tokens = (await api.sign_in("DOCTOR@hospital.com", PASSWORD)).json()
    assert (await api.client.get(path)).json()["last_login"]
    change = {"full_name": "Jane", "roles": ["viewer", "technician"]}
    stale = await api.client.patch(path, json=change, headers={"if-match": '"99"'})
    assert (stale.status_code, stale.json()["code"]) == (412, 4009)
    changed = await api.client.patch(path, json=change, headers={"if-match": etag})
    assert changed.status_code == 200, changed.text
    assert changed.json()["roles"] == ["technician", "viewer"]
    assert (changed.json()["full_name"], changed.json()["version"]) == ("Jane", 2)
    assert (await api.client.delete(path)).status_code == 204
    assert (await api.client.get(path)).json()["is_active"] is False
    gone = bearer(tokens["access_token"])
    assert (await api.anonymous.get("/api/v1/auth/me", headers=gone)).status_code == 401
    refused = await api.sign_in("doctor@hospital.com", PASSWORD)
    assert (refused.status_code, refused.json()["detail"]) == (401, "Invalid credentials")
    back = await api.client.patch(path, json={"is_active": True, "password": "Another-Horse-8"})
    assert back.status_code == 200
    assert (await api.sign_in("doctor@hospital.com", "Another-Horse-8")).status_code == 200
    assert (await api.client.get("/api/v1/users/no-uuid")).status_code == 422
    nobody = f"/api/v1/users/{'0' * 8}-0000-0000-0000-{'0' * 12}"
    assert (await api.client.get(nobody)).status_code == 404


async def test_names_and_addresses_are_of_one_user(api: Api) -> None:
    await add_user(api, "radia")
    for body, status in (
        (a_body("RADIA", email="x@y"), 409),
        (a_body("other", email="Radia@Example.org"), 409),
        (a_body(" other"), 422),
        (a_body("other", email="no address"), 422),
        (a_body("other", password="weak"), 422),
        (a_body("other", roles=["nobody"]), 422),
        (a_body("other", surprise=1), 422),
        (a_body("x" * 151), 422),
        (a_body("other", full_name="x" * 201), 422),
    ):
        answer = await api.client.post("/api/v1/users", json=body)
        assert answer.status_code == status, (body, answer.text)
        assert PASSWORD not in answer.text
    both = await asyncio.gather(
        *(api.client.post("/api/v1/users", json=a_body("twin")) for _ in range(4))
    )
    assert sorted(answer.status_code for answer in both) == [201, 409, 409, 409]
    twin = next(answer for answer in both if answer.status_code == 201).json()["user_id"]
    taken = await api.client.patch(f"/api/v1/users/{twin}", json={"username": "Radia"})
    assert taken.status_code == 409


async def test_users_are_listed_by_page_and_by_cursor(api: Api) -> None:
    for number in range(5):
        await add_user(api, f"user-{number}")
    first = await api.client.get("/api/v1/users", params={"page_size": 4})
    assert (first.json()["total"], len(first.json()["data"])) == (6, 4)
    address = first.headers["link"].partition(">")[0][1:]
    rest = (await api.client.get(address)).json()["data"]
    names = [one["username"] for one in first.json()["data"] + rest]
    assert names == ["admin", *(f"user-{number}" for number in range(5))]


async def test_nobody_grants_what_they_lack(api: Api) -> None:
    boss = await a_person(api, "boss", "medical_admin")
    await add_role(api, "clerk", "users:read", "users:write", "studies:read")
    clerk = await a_person(api, "clerk", "clerk")
    admin = api.tokens["user"]["user_id"]
    target = await add_user(api, "target", "viewer")
    for person, method, path, body, missing in (
        (boss, "POST", "/users", a_body("a", roles=["system_admin"]), "*"),
        (boss, "PATCH", f"/users/{boss.user_id}", {"roles": ["system_admin"]}, "*"),
        (boss, "PATCH", f"/users/{admin}", {"password": "Another-Horse-8"}, "*"),
        (boss, "PATCH", f"/users/{admin}", {"email": "mine@example.org"}, "*"),
        (boss, "DELETE", f"/users/{admin}", None, "*"),
        (boss, "POST", "/roles", {"role_name": "r", "permissions": ["*"]}, "*"),
        (boss, "POST", "/roles", {"role_name": "r", "permissions": ["studies:*"]}, "studies:*"),
        (clerk, "PATCH", f"/users/{target}", {"is_active": False}, "exports:download"),
        (clerk, "POST", "/users", a_body("b", roles=["viewer"]), "exports:download"),
        (clerk, "POST", "/roles", {"role_name": "r", "permissions": ["audit:read"]}, "audit:read"),
        (clerk, "PATCH", "/roles/clerk", {"permissions": ["audit:read"]}, "audit:read"),
    ):
        answer = await person.ask(method, path, json=body)
        assert answer.status_code == 403, (path, answer.text)
        assert answer.json()["detail"] == f"Missing permission: {missing}"
    assert (await clerk.ask("POST", "/users", json=a_body("c", roles=["clerk"]))).status_code == 201
    assert (await boss.ask("PATCH", f"/users/{target}", json={"roles": []})).status_code == 200


async def test_ones_own_password_and_second_factor_are_changed_as_ones_own(api: Api) -> None:
    """Whoever may write users needs the old password for their own all the same."""
    admin = api.tokens["user"]["user_id"]
    path = f"/api/v1/users/{admin}"
    changed = await api.client.patch(path, json={"password": "Another-Horse-8"})
    removed = await api.client.delete(f"{path}/totp")
    for answer, own in ((changed, "password"), (removed, "totp")):
        assert answer.status_code == 409, answer.text
        assert f"/api/v1/auth/{own}" in answer.json()["detail"]
    assert (await api.client.patch(path, json={"full_name": "Ann"})).status_code == 200


async def test_a_key_grants_no_more_than_it_may_do(api: Api) -> None:
    admin = Person(api, api.tokens["user"]["user_id"], "admin", api.tokens)
    key = await a_key(admin, "users:write", "users:read")
    with_key = bearer(key["api_key"])
    body = a_body("d", roles=["viewer"])
    refused = await api.anonymous.post("/api/v1/users", json=body, headers=with_key)
    assert refused.json()["detail"] == "Missing permission: exports:download"
    body = a_body("d", roles=[])
    made = await api.anonymous.post("/api/v1/users", json=body, headers=with_key)
    assert made.status_code == 201


@pytest.mark.req("API-06")
async def test_built_in_roles_stay_and_roles_in_use_too(api: Api) -> None:
    for role in ROLES:
        for method, body in (("PATCH", {"description": "x"}), ("DELETE", None)):
            answer = await api.client.request(method, f"/api/v1/roles/{role}", json=body)
            assert answer.status_code == 409
    await add_role(api, "clerk", "studies:read", "users:*")
    clerk = await a_person(api, "clerk", "clerk")
    assert (await clerk.ask("GET", "/users")).status_code == 200
    assert (await api.client.delete("/api/v1/roles/clerk")).status_code == 409
    again = await api.client.post("/api/v1/roles", json={"role_name": "clerk", "permissions": []})
    assert again.status_code == 409
    shown = await api.client.get("/api/v1/roles/clerk")
    assert shown.json()["permissions"] == ["studies:read", "users:*"]
    assert shown.json()["users"] == 1
    change = {"permissions": ["studies:read"]}
    headers = {"if-match": shown.headers["etag"]}
    done = await api.client.patch("/api/v1/roles/clerk", json=change, headers=headers)
    assert done.status_code == 200, done.text
    assert (await clerk.ask("GET", "/users")).status_code == 403  # at once
    stale = await api.client.patch("/api/v1/roles/clerk", json=change, headers=headers)
    assert stale.status_code == 412
    await api.client.delete(f"/api/v1/users/{clerk.user_id}")
    used = await api.client.patch(f"/api/v1/users/{clerk.user_id}", json={"roles": []})
    assert used.status_code == 200
    assert (await api.client.delete("/api/v1/roles/clerk")).status_code == 204
    assert (await api.client.get("/api/v1/roles/clerk")).status_code == 404
    await add_role(api, "clerk", "studies:read")  # another one of the same name and version
    refused = await api.client.delete("/api/v1/roles/clerk", headers=headers)
    assert refused.status_code == 412
    faulty: list[dict[str, Any]] = [
        {"role_name": "Clerk", "permissions": []},
        {"role_name": "clerk", "permissions": ["studies:fly"]},
        {"role_name": "clerk"},
    ]
    for given in faulty:
        assert (await api.client.post("/api/v1/roles", json=given)).status_code == 422


async def test_permissions_and_roles_are_listed(api: Api) -> None:
    names: list[str] = []
    address: str | None = "/api/v1/permissions?page_size=7"
    while address:
        answer = await api.client.get(address)
        names += [one["permission"] for one in answer.json()["data"]]
        link = answer.headers.get("link")
        address = link.partition(">")[0][1:] if link else None
    assert names == sorted(set(names))
    assert len(names) == answer.json()["total"]
    assert {"studies:read", "users:write"} < set(names)
    roles = (await api.client.get("/api/v1/roles")).json()["data"]
    assert {role["role_name"]: set(role["permissions"]) for role in roles} == {
        role: {str(one) for one in permissions} for role, permissions in ROLES.items()
    }
    assert all(role["builtin"] for role in roles)


@pytest.mark.req("API-06")
async def test_the_last_administrator_stays(api: Api) -> None:
    admin = f"/api/v1/users/{api.tokens['user']['user_id']}"
    for method, body in (
        ("DELETE", None),
        ("PATCH", {"is_active": False}),
        ("PATCH", {"roles": ["viewer"]}),
        ("PATCH", {"roles": []}),
    ):
        answer = await api.client.request(method, admin, json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, 4008)
        assert answer.json()["detail"] == "This is the last administrator."
    assert (await api.client.get("/api/v1/auth/me")).status_code == 200


async def test_two_administrators_who_remove_each_other_leave_one(api: Api) -> None:
    first = Person(api, api.tokens["user"]["user_id"], "admin", api.tokens)
    for number in range(4):
        body = a_body(f"second-{number}", roles=["system_admin"])
        made = (await first.ask("POST", "/users", json=body)).json()
        tokens = (await api.sign_in(made["username"], PASSWORD)).json()
        second = Person(api, made["user_id"], made["username"], tokens)
        answers = await asyncio.gather(
            first.ask("PATCH", f"/users/{second.user_id}", json={"roles": []}),
            second.ask("PATCH", f"/users/{first.user_id}", json={"roles": []}),
        )
        left = [one for one in (first, second) if (await one.ask("GET", "/users")).is_success]
        assert len(left) == 1, [answer.text for answer in answers]
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [200, 403], [answer.text for answer in answers]
        first = left[0]


async def test_who_loses_a_right_grants_it_no_more(api: Api) -> None:
    """Both at once: whichever comes first, nobody has what its giver had lost before."""
    for number in range(4):
        boss = await a_person(api, f"boss-{number}", "medical_admin")
        taking, giving = await asyncio.gather(
            api.client.patch(f"/api/v1/users/{boss.user_id}", json={"roles": ["viewer"]}),
            boss.ask("POST", "/users", json=a_body(f"new-{number}", roles=["radiologist"])),
        )
        assert taking.status_code == 200
        assert giving.status_code in (201, 403)
        assert (await boss.ask("GET", "/users")).status_code == 403
        later = await boss.ask("POST", "/users", json=a_body(f"later-{number}"))
        assert later.status_code == 403
