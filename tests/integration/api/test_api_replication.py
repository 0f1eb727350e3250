"""How replication stands, by REST and in the console."""

from pathlib import Path

import pytest

from tests.integration.api.conftest import Api, running_api
from tests.integration.api.test_api_exports import sql
from tests.support.builders import new_uid
from tests.support.services import Services

TOLD = (
    "INSERT INTO index.replication_told"
    " (site, number, part, kind, study_instance_uid, at, sealed, state, reason, ended_at)"
    " VALUES ('south', $1, 0, $2, $3, now() - interval '2 min', '', $4, $5,"
    "  CASE WHEN $4 = 'waiting' THEN NULL ELSE now() END) RETURNING 1"
)
DUE = (
    "INSERT INTO index.replication_due (kind, subject, size, reason, created_at)"
    " VALUES ('copy', $1, 1000, $2, now() - interval '1 hour') RETURNING 1"
)
FINDING = (
    "INSERT INTO index.verification_finding (kind, object_key, first_seen, last_seen, repaired_at)"
    " VALUES ('altered-object', $1, now(), now(), CASE WHEN $2::int = 1 THEN now() END) RETURNING 1"
)
BASE = "/api/v1/replication"


@pytest.mark.req("STO-07")
async def test_what_a_second_store_and_another_site_lack_is_told(
    services: Services, tmp_path: Path
) -> None:
    fence = tmp_path / "fenced.json"
    services.extra["FENCE"] = str(fence)
    async with running_api(services) as api:
        quiet = (await api.client.get(BASE)).json()
        assert (quiet["site"], quiet["sends"], quiet["peers"]) == (None, False, [])
        assert quiet["lag"] == {"changes": 0, "bytes": 0, "seconds": 0.0, "failed": 0}
        assert "names no second store" in (await api.client.get("/system/replication")).text

        await sql(
            api,
            "INSERT INTO index.replication_site (name, is_on, sent, heard)"
            " VALUES ('north', true, 7, 5) RETURNING 1",
        )
        await sql(
            api,
            "INSERT INTO index.replication_peer (name, taken, reason)"
            " VALUES ('south', 3, 'cut off') RETURNING 1",
        )
        uid = new_uid()
        later, there = "something later was said of PatientName", "a/1.dcm"
        for number, (kind, state, why) in enumerate(
            [("edit", "outvoted", later), ("removal", "refused", "held"), ("object", "waiting", "")]
        ):
            await sql(api, TOLD, number, kind, uid, state, why)
        await sql(api, DUE, "a", "")
        await sql(api, DUE, "b", "NotAsReceived")
        await sql(api, FINDING, there, 1)
        await sql(api, FINDING, "a/2.dcm", 0)
        found = (await api.client.get(BASE)).json()
        told = (found["site"], found["sends"], found["files"], found["heard"])
        assert told == ("north", True, 7, 5)
        lag, (peer,) = found["lag"], found["peers"]
        assert (lag["changes"], lag["bytes"], lag["failed"]) == (2, 2000, 1)
        assert 3600 <= lag["seconds"] < 4000
        assert (peer["name"], peer["files"], peer["reason"], peer["changes"]) == (
            *("south", 3, "cut off", 1),
        )
        assert peer["seconds"] >= 120
        assert (found["outvoted"], found["refused"]) == (1, 1)
        assert (found["damaged"], found["repaired"], found["shipping"]) == (1, 1, None)

        listed = (await api.client.get(f"{BASE}/outcomes")).json()
        assert {(one["kind"], one["state"], one["reason"]) for one in listed["data"]} == {
            ("edit", "outvoted", later),
            ("removal", "refused", "held"),
        }
        only = (await api.client.get(f"{BASE}/outcomes?state=refused&page_size=1")).json()
        assert [one["kind"] for one in only["data"]] == ["removal"]
        page = (await api.client.get("/system/replication")).text
        for words in (later, "cut off", uid, there, "1 outvoted, 1 refused"):
            assert words in page, words
        part = await api.client.get("/system/replication", headers={"hx-request": "true"})
        assert "cut off" in part.text
        assert later not in part.text
        assert (await api.anonymous.get(BASE)).status_code == 401
        assert found["fence"] is None
        await _fenced(api, fence)


async def _fenced(api: Api, fence: Path) -> None:
    """Another site works in the place of this one: it is shown, and nothing is changed."""
    role = {"role_name": "reader", "description": "", "permissions": ["studies:read"]}
    who = {"username": "admin", "password": api.services.admin_password}
    for said, since in (
        ('{"since": "2026-11-28T01:02:03Z"}', "2026-11-28T01:02:03Z"),
        ("cut off", None),
    ):
        fence.write_text(said)
        assert (await api.client.get(BASE)).json()["fence"] == {"since": since}
        page = (await api.client.get("/system/replication")).text
        assert "Another site works in the place of this one" in page
        assert ("2026-11-28 01:02" in page) is (since is not None)
        for method, path, body in (
            ("POST", "/api/v1/roles", role),
            ("DELETE", "/api/v1/studies/A1", {"reason": "wrong"}),
            ("POST", "/dicom-web/studies", {}),
        ):
            answer = await api.client.request(method, path, json=body)
            assert (answer.status_code, answer.json()["name"]) == (503, "FENCED"), path
            assert "take-back" in answer.json()["detail"]
        pressed = await api.client.post(
            "/system/retention/hold",
            data={"reason": "case", "owner": "me", "patient_id": "P-17"},
            headers={"hx-request": "true"},
        )
        assert pressed.status_code == 503, "nor by the console"
        signed_in = await api.anonymous.post("/api/v1/auth/login", json=who)
        assert signed_in.status_code == 200, "whoever looks signs in"
    fence.unlink()
    assert (await api.client.get(BASE)).json()["fence"] is None
    assert (await api.client.post("/api/v1/roles", json=role)).status_code == 201
