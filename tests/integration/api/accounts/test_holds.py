"""What is done under a session or a key is done before any end of it, or not at all."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from darkroom_api.accounts.guard import Presence, Principal, still_holds
from darkroom_common.postgres.pool import Database
from tests.support.database import Prepared
from tests.support.waiting import LIMIT

_USER = (
    "INSERT INTO api.app_user (username, username_key, password_hash)"
    " VALUES ($1, $1, 'x') RETURNING id"
)
_SESSION = (
    "INSERT INTO api.session (user_id, expires_at) VALUES ($1, now() + interval '1 hour')"
    " RETURNING id"
)
_KEY = (
    "INSERT INTO api.api_key (user_id, name, key_hash, permissions, expires_at)"
    " VALUES ($1, 'x', $2, '{}', now() + interval '1 hour') RETURNING id"
)
_WAITING = (
    "SELECT count(*) > 0 FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@dataclass
class House:
    """A user who is signed in, or has a key."""

    database: Database
    prepared: Prepared
    way: str
    id: uuid.UUID
    principal: Principal

    async def put(self, changes: str) -> None:
        await self.prepared.fetch(
            f"UPDATE api.{self.way} SET {changes} WHERE id = $1 RETURNING 1", self.id
        )

    async def holds(self) -> bool:
        async with self.database.transaction() as db:
            return await still_holds(db, self.principal)


@pytest.fixture(params=["session", "api_key"])
async def house(request: pytest.FixtureRequest, superuser_url: str) -> AsyncIterator[House]:
    prepared = await Prepared.make(superuser_url, "api")
    user = (await prepared.fetch(_USER, "anna"))[0]["id"]
    more: list[Any] = [] if request.param == "session" else [b"hash"]
    sql = _SESSION if request.param == "session" else _KEY
    of = (await prepared.fetch(sql, user, *more))[0]["id"]
    session = Presence(of, uuid.uuid4(), datetime(2030, 1, 1, tzinfo=UTC))
    principal = Principal(user, "anna", (), frozenset(), session)
    if request.param == "api_key":
        principal = Principal(user, "anna", (), frozenset(), None, of)
    async with prepared.login("api") as database:
        yield House(database, prepared, request.param, of, principal)


async def test_what_was_revoked_or_is_over_does_not_hold(house: House) -> None:
    assert await house.holds()
    if house.way == "api_key":
        await house.put("expires_at = now() - interval '1 second'")
        assert not await house.holds()
        await house.put("expires_at = now() + interval '1 hour'")
        assert await house.holds()
    await house.put("revoked_at = now()")
    assert not await house.holds()


async def test_an_end_waits_for_what_is_done_under_it(house: House) -> None:
    async with house.database.transaction() as db:
        assert await still_holds(db, house.principal)
        assert await house.holds(), "two requests do not wait for each other"
        ending = asyncio.create_task(house.put("revoked_at = now()"))
        async with asyncio.timeout(LIMIT):
            while not (await house.prepared.fetch(_WAITING))[0][0]:
                assert not ending.done(), "it is ended under what is done by it"
        assert await still_holds(db, house.principal)
    await ending
    assert not await house.holds()
