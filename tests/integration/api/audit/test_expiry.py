"""Rows past their retention go by the one way there is, and the chain stays whole."""

import datetime as dt
from typing import TYPE_CHECKING

import asyncpg
import pytest

from darkroom_api.audit.chain import Chain
from darkroom_api.audit.expiry import Expiry
from darkroom_api.audit.log import AuditLog
from darkroom_common.clock import SYSTEM_CLOCK, monotonic
from tests.integration.api.audit.conftest import SEAL

if TYPE_CHECKING:
    from tests.integration.api.audit.conftest import Desk, Superuser

RETENTION = dt.timedelta(days=730)


class Earlier:
    """The clock of some days ago."""

    def __init__(self, days: int) -> None:
        self._days = dt.timedelta(days=days)

    def now(self) -> dt.datetime:
        return SYSTEM_CLOCK.now() - self._days

    def monotonic(self) -> float:
        return monotonic()


async def write(desk: "Desk", days: int, *names: str) -> None:
    """Write and join rows of some days ago."""
    desk.audit = AuditLog(desk.keys, SEAL, Earlier(days))
    desk.chain = Chain(desk.database, desk.keys, Earlier(days), desk.file)
    await desk.write(*names)


@pytest.fixture
async def written(desk: "Desk") -> "Desk":
    for days in (900, 800, 700, 400, 0):
        await write(desk, days, f"{days}-a", f"{days}-b")
    return desk


def expiry(desk: "Desk", retention: dt.timedelta = RETENTION) -> Expiry:
    return Expiry(desk.database, desk.keys, desk.audit, SYSTEM_CLOCK, retention)


async def names(desk: "Desk") -> list[str]:
    async with desk.database.acquire() as db:
        rows = await db.fetch("SELECT username, action FROM api.audit_log ORDER BY log_id")
    return [row["username"] or row["action"] for row in rows]


@pytest.mark.req("API-05")
async def test_what_is_due_goes_and_the_rest_is_still_verified(
    written: "Desk", superuser: "Superuser"
) -> None:
    assert await expiry(written).remove() == 4
    assert await expiry(written).remove() is None
    left = ["700-a", "700-b", "400-a", "400-b", "0-a", "0-b", "AUDIT_EXPIRE"]
    assert await names(written) == left
    assert await written.chain.join() == 1
    assert await written.found() == []
    await superuser.execute("DELETE FROM api.audit_log WHERE username = '700-a'")
    assert [kind for kind, _, _ in await written.found()] == ["removed"]


async def test_removed_further_than_was_signed_is_seen(
    written: "Desk", superuser: "Superuser"
) -> None:
    await expiry(written).remove()
    await superuser.execute("DELETE FROM api.audit_log WHERE username LIKE '700%'")
    await superuser.execute("DELETE FROM api.audit_link WHERE number = 3")
    assert ("links_removed", "", 3) in await written.found()


async def test_the_services_role_can_remove_nothing_of_the_last_year(written: "Desk") -> None:
    """Also not by a link of its own that says it is old."""
    async with written.database.acquire() as db:
        link = await db.fetchrow("SELECT * FROM api.audit_link WHERE number = 5")
        assert link is not None
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="for a year at least"):
            await db.execute("SELECT api.audit_expire(5, $1, now(), 1::smallint, '')", link["mac"])
        await db.execute(
            "INSERT INTO api.audit_link SELECT 0, now() - interval '3 years', '', log_ids, macs, 1,"
            " 'x' FROM api.audit_link WHERE number = 5"
        )
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="for a year at least"):
            await db.execute("SELECT api.audit_expire(0, 'x', now(), 1::smallint, '')")
    assert len(await names(written)) == 10


async def test_a_removal_that_was_not_signed_is_seen(written: "Desk") -> None:
    """The service's role could call the function for what is old; it lacks the key."""
    async with written.database.acquire() as db:
        await db.execute(
            "SELECT api.audit_expire(1, mac, now(), 1::smallint, '') FROM api.audit_link"
            " WHERE number = 1"
        )
    assert await written.found() == [("links_removed", "", 1)]


async def test_an_anchor_of_what_has_expired_is_no_fault(written: "Desk") -> None:
    async with written.database.acquire() as db:
        first = await db.fetchrow("SELECT * FROM api.audit_link WHERE number = 1")
    assert first is not None
    await expiry(written).remove()
    written.file._path.write_text(f'{{"number": 1, "mac": "{first["mac"].hex()}", "log_ids": []}}')
    assert await written.found() == []
    again = Chain(written.database, written.keys, SYSTEM_CLOCK, written.file)
    assert await again.join() == 1
    assert await written.found() == []


async def test_two_processes_remove_it_once(written: "Desk") -> None:
    async with written.database.transaction() as db:
        await db.execute("SELECT pg_advisory_xact_lock(1684107885)")
        assert await expiry(written).remove() is None
    assert await expiry(written).remove() == 4
