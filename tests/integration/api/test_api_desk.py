"""The operator's desk: verification, error reports, settings."""

import datetime as dt
import json
from typing import Any

import pytest

from darkroom_api.settings import ApiSettings
from darkroom_common.settings_in_force import HIDDEN, shown
from tests.integration.api.conftest import Api
from tests.support.builders import a_data_set
from tests.support.database import Prepared

_JOB = """
    INSERT INTO transmit.job (id, destination, priority, state, reason, finished_at)
    SELECT 'job-' || n, 'PACS', 'low', 'FAILED', 'Refused', now() - make_interval(mins => n)
    FROM generate_series(1, 30) AS n
"""
_OLD = """
    INSERT INTO transmit.job (id, destination, priority, state, reason, finished_at)
    VALUES ('old', 'PACS', 'low', 'FAILED', 'Refused', now() - interval '3 days')
"""
_SPOOL = "INSERT INTO ingest.spool (id) VALUES ('7f1b3a52-0000-4000-8000-000000000001')"
_HELD = """
    INSERT INTO ingest.quarantined (receipt, spool, reason, status, received_at, size,
        calling_ae_title, sop_class_uid, transfer_syntax_uid)
    SELECT 'a1', id, 'truncated', 'C000', now(), 10, 'CT1', '', '' FROM ingest.spool
"""
_LETTER = """
    INSERT INTO api.dead_letter (queue, message_id, type, reason, attempts, died_at, trace, body,
        fingerprint) VALUES ('print.jobs', 'm', '', 'no', 1, now(), '{}', '', '')
"""
_RUN = """
    INSERT INTO index.verification_run (kind, scope, due, state, checked, findings, finished)
    VALUES ('contents', 'all', now(), 'finished', 12, 1, now())
"""
_FINDING = """
    INSERT INTO index.verification_finding (object_key, kind, size)
    VALUES ('ab/cd', 'wrong-size', 5)
"""
REPORT = "/api/v1/reports/errors"


@pytest.fixture
async def troubled(api: Api) -> Api:
    database = Prepared(api.services.superuser_url)
    for statement in (_JOB, _OLD, _SPOOL, _HELD, _LETTER, _RUN, _FINDING):
        await database.fetch(statement)
    return api


async def get(api: Api, path: str, **query: Any) -> dict[str, Any]:
    answer = await api.client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.req("API-23")
async def test_errors_of_every_kind_are_counted_and_listed(troubled: Api) -> None:
    found = await get(troubled, REPORT)
    expected = {"transmit_job": 30, "quarantine": 1, "dead_letter": 1, "verification": 1}
    assert found["counts"] == expected
    assert found["total"] == 33
    assert len(found["data"]) == 20
    moments = [one["at"] for one in found["data"]]
    assert moments == sorted(moments, reverse=True)
    jobs = await get(troubled, REPORT, kind="transmit_job", page_size=200)
    assert {one["reason"] for one in jobs["data"]} == {"Refused"}
    assert {one["subject"] for one in jobs["data"]} == {"PACS"}
    assert (jobs["total"], jobs["counts"]) == (30, expected)
    week = (dt.datetime.now(dt.UTC) - dt.timedelta(days=7)).isoformat()
    assert (await get(troubled, REPORT, **{"from": week}))["total"] == 34
    assert {"from", "to"} <= found.keys()

    first = await troubled.client.get(REPORT, params={"page_size": 25})
    following = first.headers["link"].partition(">")[0].lstrip("<")
    rest = (await troubled.client.get(following)).json()["data"]
    assert len({one["error_id"] for one in [*first.json()["data"], *rest]}) == 33

    for wrong in (
        {"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
        {"from": "2020-01-01T00:00:00Z"},
        {"from": "yesterday"},
        {"to": "0001-01-01T00:00:00Z"},
        {"kind": "weather"},
    ):
        assert (await troubled.client.get(REPORT, params=wrong)).status_code == 422, wrong
    logged = await get(troubled, "/api/v1/audit-logs", action="REPORT_READ")
    assert logged["total"] >= 4


async def test_verification_shows_runs_and_findings(troubled: Api) -> None:
    (run,) = (await get(troubled, "/api/v1/verification", kind="contents"))["data"]
    assert (run["state"], run["checked"], run["findings"]) == ("finished", 12, 1)
    path = "/api/v1/verification/findings"
    (finding,) = (await get(troubled, path, state="open"))["data"]
    assert (finding["kind"], finding["object_key"], finding["size"]) == ("wrong-size", "ab/cd", 5)
    assert (await get(troubled, path, state="resolved"))["total"] == 0


async def test_verification_shows_each_store(troubled: Api) -> None:
    database = Prepared(troubled.services.superuser_url)
    for kind in ("slow", "replica"):
        await database.fetch(_RUN.replace("contents", kind).replace("'all'", "'due'"))
    runs = (await get(troubled, "/api/v1/verification"))["data"]
    assert {one["kind"] for one in runs} == {"contents", "slow", "replica"}
    tiers = (await get(troubled, "/api/v1/verification/tiers"))["data"]
    assert [(one["tier"], one["oldest_at"], one["run"]["checked"]) for one in tiers] == [
        ("fast", None, 12),
        ("slow", None, 12),
        ("replica", None, 12),
    ]
    await troubled.seed.add(a_data_set(), a_data_set())
    await database.fetch("UPDATE index.instance SET in_slow = id % 2 = 0, verified_at = now()")
    await database.fetch("DELETE FROM index.verification_run WHERE kind = 'replica'")
    fast, slow, replica = (await get(troubled, "/api/v1/verification/tiers"))["data"]
    assert fast["oldest_at"] == slow["oldest_at"] is not None
    assert (replica["oldest_at"], replica["run"]) == (None, None)
    page = (await troubled.client.get("/trouble/findings")).text
    assert "Read back" in page
    assert "Slow" in page


async def test_settings_are_shown_without_what_is_secret(api: Api) -> None:
    found = await get(api, "/api/v1/settings")
    text = json.dumps(found)
    for secret in (*api.services.secrets.values(), api.services.admin_password, "test-only"):
        assert secret not in text
    values = {one["name"]: one["value"] for one in found["data"]}
    assert values["DARKROOM_JWT_KEY"] == HIDDEN
    assert values["DARKROOM_POSTGRES_URL"] == HIDDEN
    assert values["DARKROOM_HTTP_PORT"] == api.services.http_port
    assert values["DARKROOM_METRICS_TOKEN"] is None
    assert found["total"] == len(ApiSettings.model_fields)
    url, together = "/api/v1/settings?page_size=9", list[str]()
    while url:
        page = await api.client.get(url)
        together += [one["name"] for one in page.json()["data"]]
        url = page.links.get("next", {}).get("url", "")
    assert together == sorted(values)


def test_credentials_in_urls_are_not_shown(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in api.services.running["api"].environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DARKROOM_STORE_URL", "s3://planted-id:planted-key@host/b?secret=planted")
    monkeypatch.setenv("DARKROOM_METRICS_TARGETS", '{"a": "http://planted:planted@host:1/x"}')
    text = " ".join(one.model_dump_json() for one in shown(ApiSettings.load()))
    assert "planted" not in text
    assert "s3://host/b" in text
