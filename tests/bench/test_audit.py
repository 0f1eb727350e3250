"""The audit log at a million rows: how long its statements take, and how fast it is written."""

import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from darkroom_api.audit.actions import Action
from darkroom_api.audit.chain import Chain
from darkroom_api.audit.entries import AuditKeys, Entry
from darkroom_api.audit.log import AuditLog
from darkroom_api.audit.query import AuditSearch, search, summary
from darkroom_api.audit.verification import Place, Verification
from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Database, open_database
from darkroom_local.engines.postgres import PrivatePostgres
from tests.bench import report
from tests.bench.report import QUICK, Table
from tests.integration.api.audit.conftest import ONE_KEY, SEAL
from tests.support.services import prepare_database, role_url

ROWS = 20_000 if QUICK else 1_000_000
TIMES = 20
TABLES: list[Table] = []
NOTE = (
    f"{ROWS:,} rows over two years, of 200 users (one with 40 %) and 18 actions, the rarest with a"
    " ten-thousandth; the slowest of 20 searches of a kind, each with its count."
)
_FILL = """
    INSERT INTO api.audit_log SELECT
        (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7000'
            || '8' || substr(md5(n::text), 1, 15))::uuid,
        at, CASE WHEN n % 5 < 2 THEN 'u-0' ELSE 'u-' || n % 199 END, 'name',
        CASE WHEN n % 10000 = 1 THEN 'STUDY_DELETE'
            WHEN n % 3 = 0 THEN 'DICOMWEB_RETRIEVE' WHEN n % 3 = 1 THEN 'STUDY_READ'
            ELSE 'ACTION_' || n % 16 END,
        CASE n % 4 WHEN 0 THEN 'association' WHEN 1 THEN 'export' ELSE 'study' END,
        '1.2.3.' || n % 200000, '10.0.0.1', 'Mozilla/5.0 (X11; Linux x86_64)', n % 50 = 0,
        CASE WHEN n % 20 = 0 THEN 'failure' ELSE 'success' END,
        '{"route": "/dicom-web/studies/{study}", "status": 200}', '', 1, decode(md5(n::text), 'hex')
    FROM (SELECT n, now() - interval '2 years' * (1 - n / $1::float) AS at
        FROM generate_series(1, $1) AS n) AS made
"""


@pytest.fixture(scope="module", autouse=True)
def page() -> Iterator[None]:
    yield
    report.write("Audit log", NOTE, TABLES)


@pytest.fixture
async def url(engine_directory: Path) -> AsyncIterator[str]:
    settings = {"shared_buffers": "256MB", "max_wal_size": "4GB"}
    server = PrivatePostgres(engine_directory / "postgres", fsync=True, settings=settings)
    async with server.running():
        await prepare_database(server.superuser_url(), "api")
        yield server.superuser_url()


def table(title: str, unit: str) -> Table:
    made = Table(title, unit)
    TABLES.append(made)
    return made


SEARCHES: dict[str, dict[str, Any]] = {
    "newest": {},
    "page 19,000": {"page": 19_000 if not QUICK else 300},
    "of a user": {"user_id": "u-17"},
    "of the user with 40 %": {"user_id": "u-0"},
    "of an action": {"action": "STUDY_READ"},
    "of the rarest action": {"action": "STUDY_DELETE"},
    "of a user and the rarest action": {"user_id": "u-0", "action": "STUDY_DELETE"},
    "of a user and an action that he never did": {"user_id": "u-0", "action": "BULK_UPDATE"},
    "of a user and a type": {"user_id": "u-0", "resource_type": "export"},
    "of a study": {"resource_type": "study", "resource_id": "1.2.3.4711"},
    "of a type": {"resource_type": "export"},
    "of a day": {"start_date": "2026-01-01", "end_date": "2026-01-01"},
    "of a month, a user and an action": {
        "start_date": "2026-01-01",
        "end_date": "2026-01-31",
        "user_id": "u-0",
        "action": "STUDY_READ",
    },
}


async def test_searches(url: str) -> None:
    found = table("P11: searches of the audit log", "ms")
    superuser = await asyncpg.connect(url)
    await superuser.execute(_FILL, ROWS, timeout=3000)
    await superuser.execute("VACUUM ANALYZE api.audit_log", timeout=3000)
    size = await superuser.fetchval("SELECT pg_total_relation_size('api.audit_log')")
    table("Space of a row with its indexes", "bytes").add("audit_log", "a row", size / ROWS)
    await superuser.close()
    async with open_database(role_url(url, "darkroom_api"), service="bench") as database:
        for name, asked in SEARCHES.items():
            times = []
            for _ in range(TIMES):
                async with database.acquire() as db:
                    began = time.perf_counter()
                    await search(db, AuditSearch(**asked), None)
                    times.append(1000 * (time.perf_counter() - began))
            found.add(name, "slowest", max(times))
            found.add(name, "median", sorted(times)[TIMES // 2])
        async with database.acquire() as db:
            began, now = time.perf_counter(), SYSTEM_CLOCK.now()
            await summary(db, now - timedelta(days=365), now)
            found.add("summary of a year", "median", 1000 * (time.perf_counter() - began))


async def test_writing_chaining_verifying(url: str) -> None:
    rate = table("Rows of the audit log", "rows/s")
    keys = AuditKeys(PhiKeys.parse(ONE_KEY))
    audit, number = AuditLog(keys, SEAL, SYSTEM_CLOCK), 5_000 if QUICK else 50_000
    rows = [
        Entry(Action.STUDY_READ, "study", f"1.2.{n}", "u-1", "anna", details={"status": 200})
        for n in range(number)
    ]
    async with open_database(role_url(url, "darkroom_api"), service="bench") as database:
        rate.add("written, one a transaction", "rate", await _one_by_one(database, audit, rows))
        began = time.perf_counter()
        for at in range(0, number, 500):
            async with database.transaction() as db:
                await audit.add(db, rows[at : at + 500])
        rate.add("written, 500 a transaction", "rate", number / (time.perf_counter() - began))
        chain = Chain(database, keys, SYSTEM_CLOCK)
        began, joined = time.perf_counter(), 0
        while (more := await chain.join()) > 0:
            joined += more
        rate.add("joined to the chain", "rate", joined / (time.perf_counter() - began))
        verification, place, checked = Verification(database, keys, SEAL), Place(), 0
        began = time.perf_counter()
        while True:
            step = await verification.step(place)
            checked += step.rows
            assert step.faults == []
            if step.place is None:
                break
            place = step.place
        rate.add("verified", "rate", checked / (time.perf_counter() - began))


async def _one_by_one(database: Database, audit: AuditLog, rows: list[Entry]) -> float:
    some = rows[:500]
    began = time.perf_counter()
    for row in some:
        async with database.transaction() as db:
            await audit.add(db, [row])
    return len(some) / (time.perf_counter() - began)
