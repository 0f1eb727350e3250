"""People other than the administrator, and asking, for tests of who may do what."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.integration.api.conftest import Api
from tests.support.database import Prepared

_USER = """
    WITH made AS (
        INSERT INTO api.app_user (username, username_key, password_hash, full_name, email)
        SELECT $1, $1, password_hash, $2, $3 FROM api.app_user WHERE username = 'admin'
        RETURNING id
    )
    INSERT INTO api.user_role SELECT id, $1 FROM made
"""


@asynccontextmanager
async def signed_in(
    api: Api, role: str, *, full_name: str = "", email: str = ""
) -> AsyncIterator[httpx.AsyncClient]:
    """Be somebody who has this role, and its name."""
    await Prepared(api.services.superuser_url).fetch(_USER, role, full_name, email)
    token = (await api.sign_in(role, api.services.admin_password)).json()["access_token"]
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=api.url, headers=headers, timeout=20) as client:
        yield client


async def asked(client: httpx.AsyncClient, method: str, url: str, **given: Any) -> httpx.Response:
    """Ask any route; of the answer that never ends, the head alone is waited for."""
    answer = await client.send(client.build_request(method, url, **given), stream=True)
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        await answer.aclose()
        return httpx.Response(answer.status_code, headers=answer.headers)
    await answer.aread()
    return answer
