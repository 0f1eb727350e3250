"""Trouble in the console: what has happened in a sentence, and buttons for whoever may press."""

from typing import Final

from tests.integration.api.accounts.people import PASSWORD, add_user
from tests.integration.api.conftest import Api, running_api
from tests.integration.console.desk import Desk, sitting, trouble
from tests.support.builders import a_data_set, new_uid
from tests.support.database import Prepared
from tests.support.services import Services

_BASE: Final = "/trouble"


async def test_it_says_what_happened_and_offers_what_one_may_do(services: Services) -> None:
    async with running_api(services) as api:
        await api.seed.add(a_data_set(StudyInstanceUID=new_uid()))
        await services.start("transmit")
        await trouble(services.superuser_url)
        people = await sitting(api)
        await _sentences(people["medical_admin"])
        await _told(people)
        await _buttons(people["medical_admin"], api)
        await _less(people)
        await _one_permission(people["admin"], api)


async def _sentences(admin: Desk) -> None:
    said = await admin.words(_BASE)
    for count in ("1 Quarantine", "2 Dead letters", "0 Conflicts", "1 Findings", "1 Failed jobs"):
        assert count in said
    assert "2 dead letters" in await admin.words(f"{_BASE}/count")
    page = await admin.page(f"{_BASE}/quarantine")
    assert "It breaks off before its end" in page
    assert "&lt;i&gt;CT1" in page
    assert "it &lt;u&gt;names nothing" in await admin.page(f"{_BASE}/dead-letters")
    assert "is not as long as it was" in await admin.words(f"{_BASE}/findings")
    assert "Nothing disagrees" in await admin.words(f"{_BASE}/conflicts")
    assert "our AE title is not on its list" in await admin.words(f"{_BASE}/jobs")


async def _told(people: dict[str, Desk]) -> None:
    """What has happened is told to who may see it, and is new until it was shown."""
    admin = people["medical_admin"]
    assert int((await admin.words("/notifications/count")).split()[0]) >= 5
    said = await admin.words("/notifications")
    for kind in ("Dead letter", "Quarantine", "Damage", "Sending"):
        assert kind in said
    assert "it <u>names nothing" in said
    assert "Dead letter" not in await people["technician"].words("/notifications")
    assert "Nothing to tell" in await people["viewer"].words("/notifications")


async def _buttons(admin: Desk, api: Api) -> None:
    rows = await Prepared(api.services.superuser_url).fetch("SELECT id FROM api.dead_letter")
    first, other = (f"{_BASE}/dead-letters/{row['id']}" for row in rows)
    await admin.press(f"{first}/discard", {}, 422)
    await admin.press(f"{first}/discard", {"version": "7"}, 412)
    assert "discarded" in await admin.press(f"{first}/discard", {"version": "1"})
    assert "worked on again" in await admin.press(f"{other}/replay", {"version": "1"})
    assert "1 in all" not in await admin.page(f"{_BASE}/dead-letters")
    assert await admin.words(f"{_BASE}/count") == ""
    (job,) = await Prepared(api.services.superuser_url).fetch("SELECT id FROM transmit.job")
    assert "tried again" in await admin.press(f"{_BASE}/transmit/{job['id']}/retry")


async def _less(people: dict[str, Desk]) -> None:
    technician, viewer = people["technician"], people["viewer"]
    seen = await technician.page(_BASE)
    assert "/trouble/conflicts" in seen
    assert "/trouble/dead-letters" not in seen
    assert "/trouble/count" not in seen
    await technician.page(f"{_BASE}/quarantine", 403)
    await technician.press(f"{_BASE}/dead-letters/1/discard", {"version": "1"}, 403)
    await viewer.page(_BASE, 403)


async def _one_permission(admin: Desk, api: Api) -> None:
    """Who may see one kind of trouble alone has it in the menu, and nothing else of it."""
    role = {"role_name": "postman", "permission": "dead_letters:read"}
    await admin.press("/people/roles", role)
    await add_user(api, "paul", "postman")
    token = (await api.sign_in("paul", PASSWORD)).json()["access_token"]
    seen = await Desk(api.anonymous, token).page(f"{_BASE}/dead-letters")
    assert 'href="/trouble/dead-letters" title="Trouble"' in seen
    assert 'href="/trouble"' not in seen
    assert 'href="/people' not in seen
