"""People in the console: users, roles, keys and the audit log, without what a role may not."""

import datetime as dt
import re

from tests.integration.api.accounts.people import PASSWORD
from tests.integration.api.conftest import Api, running_api
from tests.integration.console.desk import Desk, sitting
from tests.support.builders import a_data_set, new_uid
from tests.support.services import Services

_BASE = "/people"
_CT = {"name": "CT_1", "network": "10.1.2.0/24", "query_rule": "own", "retrieve_rule": "any"}
_NEW = {"username": "nora", "email": "nora@example.org", "full_name": "<b>Nora</b>"}


async def test_an_administrator_keeps_users_roles_and_keys(services: Services) -> None:
    async with running_api(services) as api:
        await services.start("ingest")
        people = await sitting(api)
        admin = people["admin"]
        await _senders(people)
        await _retention(admin, api)
        await _roles_and_users(admin, api)
        await _keys(admin)
        await _audit(people, api)
        assert "All is well" in await admin.words("/system")
        assert "Good until" in await people["medical_admin"].words("/system")
        shown = await admin.words("/system/settings", service="api")
        assert "DARKROOM_JWT_KEY" in shown
        assert "(hidden)" in shown
        assert services.admin_password not in shown
        conformance = await admin.words("/system/conformance")
        assert "WADO-RS, rendered" in conformance
        queues = await admin.words("/system/queues")
        assert "Room for images" in queues
        assert "metadata.index.dead" in queues
        await people["radiologist"].page("/system/queues", 403)
        await people["radiologist"].page("/system", 403)
        assert 'href="/people"' not in await people["technician"].page("/worklist")
        await people["technician"].page(_BASE, 403)
        await people["technician"].press(_BASE, _NEW, 403)


async def _roles_and_users(admin: Desk, api: Api) -> None:
    role = {"role_name": "reception", "description": "<i>Front", "permission": "studies:read"}
    assert "given to users" in await admin.press(f"{_BASE}/roles", role)
    assert "&lt;i&gt;Front" in await admin.page(f"{_BASE}/roles")
    new = {**_NEW, "password": PASSWORD}
    await admin.press(_BASE, new, 422)
    assert "may sign in" in await admin.press(_BASE, {**new, "role": "reception"})
    page = await admin.page(_BASE)
    assert "&lt;b&gt;Nora&lt;/b&gt;" in page
    assert (await api.sign_in("nora", PASSWORD)).status_code == 200
    users = (await api.client.get("/api/v1/users", params={"page_size": 200})).json()["data"]
    (nora,) = (one for one in users if one["username"] == "nora")
    at = f"{_BASE}/users/{nora['user_id']}"
    sessions = await admin.page(f"{at}/sessions")
    (one,) = set(re.findall(r"/sessions/([^/]+)/end", sessions))
    assert "has ended" in await admin.press(f"{at}/sessions/{one}/end")
    await admin.press(f"{at}/sessions/{one}/end", status=404)
    assert "no session" in await admin.words(f"{at}/sessions")
    assert "have ended" in await admin.press(f"{at}/end-sessions")
    change = {**_NEW, "role": "reception", "version": str(nora["version"])}
    assert "is changed" in await admin.press(at, change)
    await admin.press(at, change, 412)
    assert (await api.sign_in("nora", PASSWORD)).status_code == 401
    await admin.press(f"{_BASE}/roles/reception/remove", status=409)


async def _keys(admin: Desk) -> None:
    until = (dt.datetime.now(dt.UTC) + dt.timedelta(days=20)).date().isoformat()
    asked = {"name": "<u>robot", "permission": "studies:read", "expires_on": until}
    said = await admin.press("/account/keys", asked, 200)
    assert "shown this once" in said
    page = await admin.page("/account/keys")
    assert "&lt;u&gt;robot" in page
    (key,) = re.findall(r"/account/keys/([^/]+)/remove", page)
    await admin.press(f"/account/keys/{key}/remove")
    assert "You have no API key" in await admin.words("/account/keys")
    page = await admin.page("/account")
    others = re.findall(r"/account/sessions/([^/]+)/end", page)
    assert "this one" in page
    await admin.press("/account/second-factor", {"password": "wrong"}, 401)
    await admin.press("/account/second-factor/remove", {"password": "wrong", "code": "000000"}, 401)
    for one in others:
        await admin.press(f"/account/sessions/{one}/end")


async def _audit(people: dict[str, Desk], api: Api) -> None:
    admin = people["medical_admin"]
    said = await admin.words(f"{_BASE}/audit", action="USER_CREATE")
    assert "User create" in said
    assert "5 in all" in said
    assert "Nothing is wrong with" in await admin.press(f"{_BASE}/audit/verify", status=200)
    await people["radiologist"].page(f"{_BASE}/audit", 403)
    kept = await api.client.get("/api/v1/audit-logs", params={"action": "USER_CREATE"})
    assert kept.json()["data"][0]["user_agent"].startswith("Darkroom-Console python-httpx")


async def _retention(admin: Desk, api: Api) -> None:
    """What retention says of a study stands in the question whether to delete it."""
    study = new_uid()
    await api.seed.add(a_data_set(StudyInstanceUID=study))
    assert f'hx-get="/study/{study}/retention"' in await admin.page(f"/study/{study}")
    assert "have not judged it yet" in await admin.words(f"/study/{study}/retention")
    hold = {"exam_id": study, "reason": "a dispute", "owner": ""}
    await admin.press("/system/retention/hold", hold)
    assert "under legal hold" in await admin.words(f"/study/{study}/retention")
    await admin.press(f"/study/{study}/delete", {"reason": "mistaken"}, 409)


async def _senders(people: dict[str, Desk]) -> None:
    admin, technician = people["medical_admin"], people["technician"]
    before = await admin.page("/senders")
    assert "CT_1" not in before
    assert "may send now" in await admin.press("/senders", _CT)
    await admin.press("/senders", _CT, 409)
    await admin.press("/senders", {**_CT, "name": "CT_2", "network": "over there"}, 422)
    said = await admin.words("/senders")
    assert "CT_1 10.1.2.0/24 everything its own studies all studies any number" in said
    await technician.page("/senders", 403)
    await technician.press("/senders", _CT, 403)
    assert 'href="/senders"' not in await technician.page("/worklist")
    await admin.press("/senders/remove", {"name": "CT_1"})
    assert "CT_1" not in await admin.page("/senders")
