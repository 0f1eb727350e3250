"""People in the console: users, roles, keys and the audit log, without what a role may not."""

import datetime as dt
import re

from tests.integration.api.accounts.people import PASSWORD
from tests.integration.api.conftest import Api, running_api
from tests.integration.console.desk import Desk, sitting
from tests.support.services import Services

_BASE = "/people"
_NEW = {"username": "nora", "email": "nora@example.org", "full_name": "<b>Nora</b>"}


async def test_an_administrator_keeps_users_roles_and_keys(services: Services) -> None:
    async with running_api(services) as api:
        people = await sitting(api)
        admin = people["admin"]
        await _roles_and_users(admin, api)
        await _keys(admin)
        await _audit(people)
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


async def _audit(people: dict[str, Desk]) -> None:
    admin = people["medical_admin"]
    said = await admin.words(f"{_BASE}/audit", action="USER_CREATE")
    assert "User create" in said
    assert "5 in all" in said
    assert "Nothing is wrong with" in await admin.press(f"{_BASE}/audit/verify", status=200)
    await people["radiologist"].page(f"{_BASE}/audit", 403)
