"""What the role of the service may do with the audit log: write and read, nothing else."""

from typing import TYPE_CHECKING

import asyncpg
import pytest
from structlog.testing import capture_logs

from darkroom_api.audit.actions import Action
from darkroom_api.audit.entries import Entry
from darkroom_api.audit.log import AuditLog
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.postgres.pool import Database

if TYPE_CHECKING:
    from tests.integration.api.audit.conftest import Superuser

REFUSED = [
    "UPDATE api.audit_log SET username = 'x'",
    "DELETE FROM api.audit_log",
    "TRUNCATE api.audit_log",
    "TRUNCATE api.audit_pending",
    "UPDATE api.audit_pending SET log_id = gen_random_uuid()",
    "UPDATE api.audit_link SET macs = macs",
    "DELETE FROM api.audit_link",
    "TRUNCATE api.audit_link",
    "INSERT INTO api.audit_checkpoint SELECT 1, mac, 1, now(), 1, mac FROM api.audit_link",
    "DELETE FROM api.audit_checkpoint",
    "UPDATE api.audit_checkpoint SET number = 1",
    "ALTER FUNCTION api.audit_expire SECURITY INVOKER",
    "ALTER TABLE api.audit_log ADD COLUMN x integer",
    "DROP TABLE api.audit_log",
    (
        "CREATE TRIGGER t BEFORE INSERT ON api.audit_log FOR EACH ROW"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()"
    ),
    "CREATE RULE r AS ON INSERT TO api.audit_log DO INSTEAD NOTHING",
    "SET ROLE darkroom_migrate",
    "SET session_replication_role = replica",
    (
        "INSERT INTO api.audit_log SELECT * FROM api.audit_log"
        " ON CONFLICT (log_id) DO UPDATE SET username = 'x'"
    ),
    "SELECT * FROM api.audit_log FOR UPDATE",
]


@pytest.mark.parametrize("sql", REFUSED)
@pytest.mark.req("API-05")
async def test_the_services_role_cannot(sql: str, database: Database, audit: AuditLog) -> None:
    async with database.transaction() as db:
        await audit.add(db, [Entry(Action.AUTH_LOGIN, username="anna")])
    async with database.acquire() as db:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await db.execute(sql)
        assert await db.fetchval("SELECT username FROM api.audit_log") == "anna"


async def test_a_row_is_there_with_what_it_tells_of_or_not_at_all(
    database: Database, audit: AuditLog
) -> None:
    with pytest.raises(RuntimeError, match="undo"):
        async with database.transaction() as db:
            await audit.add(db, [Entry(Action.USER_CREATE)] * 3)
            raise RuntimeError("undo")
    async with database.acquire() as db:
        assert await db.fetchval("SELECT count(*) FROM api.audit_log") == 0
        assert await db.fetchval("SELECT count(*) FROM api.audit_pending") == 0


async def test_phi_is_sealed(database: Database, audit: AuditLog) -> None:
    async with database.transaction() as db:
        await audit.add(db, [Entry(Action.STUDY_UPDATE, phi={"old": "MEYER^ANNA"})])
        row = await db.fetchrow("SELECT *, audit_log::text AS whole FROM api.audit_log")
    assert row is not None
    assert "MEYER" not in row["whole"]
    assert b"MEYER" not in row["phi"]


@pytest.mark.parametrize("table", ["audit_log", "audit_pending"])
async def test_nothing_is_done_that_is_not_kept(
    table: str, database: Database, audit: AuditLog, superuser: "Superuser"
) -> None:
    await superuser.execute(
        "CREATE FUNCTION public.pass_over() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NULL; END'"
    )
    await superuser.execute(
        f"CREATE TRIGGER pass_over BEFORE INSERT ON api.{table} FOR EACH ROW"
        " WHEN (NEW.log_id IS NOT NULL) EXECUTE FUNCTION public.pass_over()"
    )
    with pytest.raises(DependencyUnavailable):
        async with database.transaction() as db:
            await audit.add(db, [Entry(Action.USER_CREATE)])


async def test_security_events_are_told_once_they_are_committed(
    database: Database, audit: AuditLog
) -> None:
    refused = Entry(Action.AUTH_FAILED, "user", phi={"name": "MEYER"}, outcome="failure")
    with capture_logs() as told:
        with pytest.raises(RuntimeError, match="undo"):
            async with database.transaction() as db:
                await audit.add(db, [refused])
                raise RuntimeError("undo")
        async with database.transaction() as db:
            await audit.add(db, [refused, Entry(Action.STUDY_READ, "study", "1.2")])
            assert [one for one in told if one["event"].startswith("security.")] == []
    (event,) = (one for one in told if one["event"].startswith("security."))
    assert (event["event"], event["log_level"]) == ("security.AUTH_FAILED", "warning")
    assert event["outcome"] == "failure"
    assert "MEYER" not in str(event)
