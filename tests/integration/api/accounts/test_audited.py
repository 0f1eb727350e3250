"""What of signing in, of people and of their rights is in the audit log."""

from typing import Any

from tests.integration.api.accounts.people import PASSWORD, a_key, a_person, add_role
from tests.integration.api.conftest import Api


async def kept(api: Api, action: str) -> list[dict[str, Any]]:
    """The rows of an action, newest first."""
    answer = await api.client.get("/api/v1/audit-logs", params={"action": action})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


async def test_signing_in_and_what_goes_wrong_is_kept(api: Api) -> None:
    person = await a_person(api, "radia", "viewer")
    row = (await kept(api, "AUTH_LOGIN"))[0]
    assert (row["user_id"], row["username"]) == (person.user_id, "radia")
    assert (row["resource_type"], row["ip_address"]) == ("session", "127.0.0.1")
    assert row["details"]["method"] == "password"
    assert (await api.sign_in("radia", "wrong")).status_code == 401
    assert (await api.sign_in("a password in the wrong field", "wrong")).status_code == 401
    unknown, known = (await kept(api, "AUTH_FAILED"))[:2]
    assert (known["resource_id"], known["user_id"]) == (person.user_id, None)
    assert unknown["resource_id"] is None
    assert "wrong field" not in str(unknown)
    assert (await person.ask("GET", "/users")).status_code == 403
    denied = (await kept(api, "ACCESS_DENIED"))[0]
    assert (denied["username"], denied["details"]["needs"]) == ("radia", "users:read")
    token = {"refresh_token": person.tokens["refresh_token"]}
    for status in (200, 401):
        again = await api.anonymous.post("/api/v1/auth/refresh", json=token)
        assert again.status_code == status
    assert (await kept(api, "SESSION_REUSE"))[0]["username"] == "radia"
    other = await a_person(api, "visitor", "viewer")
    assert (await other.ask("POST", "/auth/logout")).status_code == 200
    assert (await kept(api, "AUTH_LOGOUT"))[0]["username"] == "visitor"
    for _ in range(6):
        locked = await api.sign_in("ghost", "wrong")
    assert locked.status_code == 429
    assert (await kept(api, "AUTH_LOCKED"))[0]["details"]["reason"] == "locked"


async def test_changes_of_people_and_rights_are_kept(api: Api) -> None:
    await add_role(api, "clerk", "studies:read")
    body = {"permissions": ["studies:read", "users:read"]}
    await api.client.patch("/api/v1/roles/clerk", json=body)
    changed, made = await kept(api, "PERMISSION_CHANGE")
    assert (changed["resource_type"], changed["resource_id"]) == ("role", "clerk")
    assert changed["details"] == {"added": ["users:read"], "removed": []}
    assert made["details"] == {"added": ["studies:read"]}
    person = await a_person(api, "radia", "clerk")
    assert (await kept(api, "USER_CREATE"))[0]["resource_id"] == person.user_id
    path = f"/api/v1/users/{person.user_id}"
    given = {"roles": ["viewer"], "full_name": "Radia P", "password": "Another-Horse-8"}
    assert (await api.client.patch(path, json=given)).status_code == 200
    roles = (await kept(api, "PERMISSION_CHANGE"))[0]["details"]["roles"]
    assert roles == {"old": ["clerk"], "new": ["viewer"]}
    update = (await kept(api, "USER_UPDATE"))[0]["details"]
    assert update == {"full_name": {"old": "Radia", "new": "Radia P"}, "new_password": True}
    again = await api.sign_in("radia", "Another-Horse-8")
    person.tokens = again.json()
    key = await a_key(person, "studies:read")
    row = (await kept(api, "USER_UPDATE"))[0]
    assert (row["resource_type"], row["resource_id"]) == ("api_key", key["key_id"])
    assert (await api.client.delete(path)).status_code == 204
    assert (await kept(api, "USER_DELETE"))[0]["resource_id"] == person.user_id
    everything = str((await api.client.get("/api/v1/audit-logs?page_size=200")).json())
    assert not any(secret in everything for secret in (PASSWORD, "Another-Horse-8", key["api_key"]))
