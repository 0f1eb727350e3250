"""People for tests: made by REST, as an administrator makes them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.integration.api.conftest import Api

PASSWORD = "Correct-Horse-7"


@dataclass
class Person:
    """Somebody who has signed in, and a client that says so."""

    api: Api
    user_id: str
    username: str
    tokens: dict[str, Any]

    @property
    def headers(self) -> dict[str, str]:
        return bearer(self.tokens["access_token"])

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {**self.headers, **more.pop("headers", {})}
        return await self.api.anonymous.request(method, f"/api/v1{path}", headers=headers, **more)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def in_days(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


async def add_user(api: Api, username: str, *roles: str, password: str = PASSWORD) -> str:
    body = {
        "username": username,
        "email": f"{username}@example.org",
        "full_name": username.title(),
        "password": password,
        "roles": list(roles),
    }
    answer = await api.client.post("/api/v1/users", json=body)
    assert answer.status_code == 201, answer.text
    user_id: str = answer.json()["user_id"]
    return user_id


async def a_person(api: Api, username: str, *roles: str) -> Person:
    user_id = await add_user(api, username, *roles)
    answer = await api.sign_in(username, PASSWORD)
    assert answer.status_code == 200, answer.text
    return Person(api, user_id, username, answer.json())


async def add_role(api: Api, role: str, *permissions: str) -> None:
    body = {"role_name": role, "permissions": permissions}
    answer = await api.client.post("/api/v1/roles", json=body)
    assert answer.status_code == 201, answer.text


async def a_key(person: Person, *permissions: str, days: float = 1) -> dict[str, Any]:
    body = {"name": "a test", "permissions": permissions, "expires_at": in_days(days)}
    answer = await person.ask("POST", "/api-keys", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made
