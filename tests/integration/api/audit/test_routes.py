"""The audit log by REST and by its command, on a running api."""

import csv
import io
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from darkroom_api.audit import query
from darkroom_api.audit.actions import Action
from darkroom_api.audit.entries import AuditKeys, Entry
from darkroom_api.audit.log import AuditLog
from darkroom_api.audit.query import AuditSearch
from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import open_database
from darkroom_common.seal import Seal
from tests.support.commands import run_command
from tests.support.services import role_url
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.integration.api.conftest import Api

LOGS = "/api/v1/audit-logs"


async def write(api: "Api", entries: list[Entry]) -> None:
    """Write rows as the service does."""
    secrets = api.services.secrets
    log = AuditLog(
        AuditKeys(PhiKeys.parse(secrets["AUDIT_KEYS"])),
        Seal(PhiKeys.parse(secrets["PHI_KEYS"])),
        SYSTEM_CLOCK,
    )
    url = role_url(api.services.superuser_url, "darkroom_api")
    async with open_database(url, service="test") as database, database.transaction() as db:
        await log.add(db, entries)


def some(number: int, **more: Any) -> list[Entry]:
    return [
        Entry(Action.STUDY_READ, "study", f"1.2.{n}", user_id="u-1", username="anna", **more)
        for n in range(number)
    ]


async def listed(api: "Api", **query: Any) -> dict[str, Any]:
    answer = await api.client.get(LOGS, params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_rows_are_listed_newest_first_in_the_form_of_every_list(api: "Api") -> None:
    await write(api, some(120))
    first = await listed(api, resource_type="study")
    assert (first["total"], first["page"], first["page_size"]) == (120, 1, 50)
    assert [row["resource_id"] for row in first["data"]] == [f"1.2.{119 - n}" for n in range(50)]
    assert set(first["data"][0]) >= {
        *("log_id", "user_id", "username", "action", "resource_type", "resource_id"),
        *("ip_address", "user_agent", "timestamp", "details"),
    }
    assert first["data"][0]["timestamp"].endswith("Z")
    third = await listed(api, resource_type="study", page=3)
    assert [row["resource_id"] for row in third["data"]] == [f"1.2.{19 - n}" for n in range(20)]


async def test_the_cursor_stays_right_while_rows_arrive(api: "Api") -> None:
    await write(api, some(5))
    seen: list[str] = []
    url: str | None = f"{LOGS}?resource_type=study&page_size=2"
    while url:
        answer = await api.client.get(url)
        seen += [row["resource_id"] for row in answer.json()["data"]]
        await write(api, [Entry(Action.STUDY_READ, "study", "new")])
        url = answer.links.get("next", {}).get("url")
    assert seen == ["1.2.4", "1.2.3", "1.2.2", "1.2.1", "1.2.0"]
    again = await api.client.get(f"{LOGS}?cursor=WyJ4Il0&sort=timestamp")
    assert again.status_code == 422


async def test_filters_and_times(api: "Api") -> None:
    await write(api, [*some(3), Entry(Action.USER_CREATE, "user", "u-9", user_id="u-2")])
    assert (await listed(api, user_id="u-1"))["total"] == 3
    assert (await listed(api, user_id="u-1", action="USER_CREATE"))["total"] == 0
    assert (await listed(api, action="USER_CREATE", resource_id="u-9"))["total"] == 1
    today = SYSTEM_CLOCK.now().date().isoformat()
    assert (await listed(api, user_id="u-1", start_date=today, end_date=today))["total"] == 3
    assert (await listed(api, user_id="u-1", end_date="2025-01-31"))["total"] == 0
    assert (await listed(api, user_id="u-1", start_date="9999-12-31", end_date="9999-12-31"))[
        "total"
    ] == 0
    row = (await listed(api, user_id="u-1", sort="timestamp"))["data"][1]
    exact = {"start_date": row["timestamp"], "end_date": row["timestamp"]}
    found = await listed(api, user_id="u-1", **exact)
    assert [one["log_id"] for one in found["data"]] == [row["log_id"]]
    assert found["data"][0]["resource_id"] == "1.2.1"
    for wrong in ("2025-13-01", "yesterday", "2025-01-01T99:00:00Z"):
        answer = await api.client.get(LOGS, params={"start_date": wrong})
        assert answer.status_code == 422, wrong
        assert wrong not in answer.text
    assert (await api.client.get(LOGS, params={"action": "NO_SUCH"})).status_code == 422


async def test_reading_is_audited_with_the_values_sealed(api: "Api") -> None:
    await listed(api, resource_id="MEYER^ANNA")
    newest = (await listed(api, action="AUDIT_READ"))["data"][0]
    assert newest["username"] == "admin"
    assert newest["ip_address"] == "127.0.0.1"
    assert newest["user_agent"].startswith("python-httpx")
    assert newest["privileged"] is True
    assert newest["details"] == {
        "filters": ["resource_id"],
        "filter_values": {"resource_id": "MEYER^ANNA"},
    }
    connection = await asyncpg.connect(api.services.superuser_url)
    text = await connection.fetchval("SELECT string_agg(l::text, ' ') FROM api.audit_log l")
    await connection.close()
    assert "MEYER" not in text


async def test_the_export_is_whole_and_no_spreadsheet_computes_it(api: "Api") -> None:
    evil = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "\uff1d1", 'a"b\r\nc', "ü;=1"]
    await write(api, some(2500, phi={"name": "MEYER^ANNA"}))
    await write(api, [Entry(Action.STUDY_READ, "evil", text) for text in evil])
    answer = await api.client.get(f"{LOGS}/export", params={"sort": "timestamp"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    studies = [row["resource_id"] for row in rows if row["resource_type"] == "study"]
    assert studies == [f"1.2.{n}" for n in range(2500)]
    cells = [row["resource_id"] for row in rows if row["resource_type"] == "evil"]
    assert cells[:7] == [f"'{text}".replace("\t", " ") for text in evil[:7]]
    assert cells[7:] == ['a"b  c', "ü;'=1"]
    assert "MEYER" not in answer.text
    assert rows[-1]["action"] == "AUDIT_EXPORT"


async def test_verification_names_the_row(api: "Api") -> None:
    await write(api, some(30))

    async def joined() -> bool:
        return bool((await verified(api))["links"])

    await until(joined)
    whole = await verified(api)
    assert whole["valid"] is True
    assert whole["complete"] is True
    connection = await asyncpg.connect(api.services.superuser_url)
    log_id = await connection.fetchval(
        "UPDATE api.audit_log SET username = 'other' WHERE resource_id = '1.2.7' RETURNING log_id"
    )
    await connection.close()
    found = await verified(api)
    assert found["valid"] is False
    assert [one["log_id"] for one in found["faults"]] == [str(log_id)]
    assert found["faults"][0]["kind"] == "changed"
    answer = await api.client.post(f"{LOGS}/verify", json={"anchor": f"999:{'0' * 64}"})
    assert [one["kind"] for one in answer.json()["faults"]] == ["changed", "end_removed"]
    assert (await api.client.post(f"{LOGS}/verify", json={"after": "x"})).status_code == 422


async def verified(api: "Api") -> dict[str, Any]:
    answer = await api.client.post(f"{LOGS}/verify")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_nobody_else_reads_it(api: "Api") -> None:
    for method, path in (("GET", ""), ("GET", "/export"), ("POST", "/verify")):
        assert (await api.anonymous.request(method, LOGS + path)).status_code == 401, path


async def run(api: "Api", *words: str) -> tuple[int, str]:
    environment = api.services.environment("api", 0)
    code, output, _ = await run_command("api", "audit", *words, environment=environment)
    return code, output


async def test_pages_and_sums_are_the_same_in_whatever_steps(
    api: "Api", monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(api, some(9))
    now = SYSTEM_CLOCK.now() + timedelta(seconds=1)
    url = role_url(api.services.superuser_url, "darkroom_api")
    async with open_database(url, service="test") as database, database.acquire() as db:

        async def rows(page: int, size: int, sort: str) -> list[Any]:
            asked = AuditSearch.model_validate({"page": page, "page_size": size, "sort": sort})
            return [row["log_id"] for row in (await query.search(db, asked, None)).rows]

        whole = {sort: await rows(1, 200, sort) for sort in ("timestamp", "-timestamp")}
        at_once = await query.summary(db, now - timedelta(days=1), now)
        monkeypatch.setattr(query, "_PASSED_AT_ONCE", 3)
        monkeypatch.setattr(query, "_SUMMED_AT_ONCE", timedelta(hours=5))
        for sort, every in whole.items():
            assert len(every) > 9
            for page in range(1, len(every) // 2 + 3):
                assert await rows(page, 2, sort) == every[2 * page - 2 : 2 * page]
        assert await query.summary(db, now - timedelta(days=1), now) == at_once
        assert {one.action: one.count for one in at_once}["STUDY_READ"] == 9


@pytest.mark.req("OBS-09")
async def test_the_command(api: "Api") -> None:
    await write(api, some(3))
    code, text = await run(api, "summary", "--json")
    assert code == 0
    counted = {row["action"]: row for row in json.loads(text)}
    assert counted["STUDY_READ"] == {
        "action": "STUDY_READ",
        "count": 3,
        "unique_users": 1,
        "failures": 0,
    }
    code, text = await run(api, "list", "--user-id", "u-1", "--days", "7", "--json")
    assert [json.loads(line)["resource_id"] for line in text.splitlines()] == [
        "1.2.2",
        "1.2.1",
        "1.2.0",
    ]
    code, text = await run(api, "export", "--action", "STUDY_READ")
    assert len(list(csv.DictReader(io.StringIO(text)))) == 3
    code, text = await run(api, "verify")
    assert code == 0
    assert "no faults" in text
    connection = await asyncpg.connect(api.services.superuser_url)
    log_id = await connection.fetchval(
        "DELETE FROM api.audit_log WHERE resource_id = '1.2.1' RETURNING log_id"
    )
    await connection.close()
    code, text = await run(api, "verify", "--json")
    assert code == 1
    assert json.loads(text.splitlines()[0])["log_id"] == str(log_id)
    assert (await run(api, "list", "--action", "NO_SUCH"))[0] == 2
