"""Transmission in the console: jobs, destinations and rules, as each role may have them."""

import hashlib
import re

from tests.integration.api.conftest import Api, running_api
from tests.integration.console.desk import Desk, sitting
from tests.support.builders import a_data_set, new_uid
from tests.support.database import Prepared
from tests.support.services import Services
from tests.support.waiting import until

_JOBS = """
    INSERT INTO transmit.job (id, destination, destination_id, priority, state, reason,
        requested_by, next_at)
    SELECT md5(state), 'PACS', (SELECT id FROM transmit.destination), 'low', state, reason,
        '<b>Bold</b>', now() + interval '1 hour'
    FROM (VALUES ('FAILED', 'RejectedPermanent'), ('SENT', ''))
        AS t (state, reason)
"""
_BASE = "/transmission"


def _job(state: str) -> str:
    return f"{_BASE}/jobs/{hashlib.md5(state.encode(), usedforsecurity=False).hexdigest()}"


_PACS = {"name": "PACS", "kind": "dimse", "ae_title": "PACS", "host": "127.0.0.1", "port": "1"}


async def test_it_shows_and_does_what_a_role_may(services: Services) -> None:
    async with running_api(services) as api:
        await services.start("transmit")
        study = new_uid()
        await api.seed.add(a_data_set(StudyInstanceUID=study, Modality="CT"))
        people = await sitting(api)
        await _destinations(people["admin"])
        await _rules(people["admin"], study)
        await _jobs(people["admin"], api, study)
        await _less(people)


async def _destinations(admin: Desk) -> None:
    assert "There is no destination" in await admin.words(f"{_BASE}/destinations")
    assert "is there" in await admin.press(f"{_BASE}/destinations", _PACS)
    await admin.press(f"{_BASE}/destinations", _PACS, 409)
    await admin.press(f"{_BASE}/destinations", {**_PACS, "name": "B", "port": "many"}, 422)
    said = await admin.press(f"{_BASE}/destinations/PACS/echo", status=200)
    assert "Does not answer" in said
    assert "Nobody answers at its address" in said
    changed = {**_PACS, "rate": "2000000", "calling_ae_title": "US"}
    await admin.press(f"{_BASE}/destinations/PACS", {**changed, "version": "1"})
    await admin.press(f"{_BASE}/destinations/PACS", {**changed, "version": "1"}, 412)
    held = {"version": "2", "enabled": "no"}
    assert "wait until" in await admin.press(f"{_BASE}/destinations/PACS/switch", held)
    assert "its jobs wait" in await admin.words(f"{_BASE}/destinations")
    released = {"version": "3", "enabled": "yes"}
    assert "jobs go on" in await admin.press(f"{_BASE}/destinations/PACS/switch", released)
    shown = await admin.words(f"{_BASE}/destinations")
    assert "2.0 MB/s" in shown
    assert "127.0.0.1:1" in shown


async def _rules(admin: Desk, study: str) -> None:
    rule = {"name": "scans", "destination": "PACS", "position": "5", "modalities": "CT, MR"}
    await admin.press(f"{_BASE}/rules", rule)
    await admin.press(f"{_BASE}/rules", {**rule, "name": "b", "position": "x"}, 422)
    assert "Modalities: CT, MR" in await admin.words(f"{_BASE}/rules")
    edited = {**rule, "version": "1", "modalities": "CT, MR, DX", "prefetch": "PACS"}
    assert "is changed" in await admin.press(f"{_BASE}/rules/scans", edited)
    await admin.press(f"{_BASE}/rules/scans", edited, 412)
    assert "fetches priors from PACS" in await admin.words(f"{_BASE}/rules")
    off = {"version": "2", "enabled": "no"}
    assert "not looked at" in await admin.press(f"{_BASE}/rules/scans/switch", off)
    assert "Not in force" in await admin.words(f"{_BASE}/rules")
    on = {"version": "3", "enabled": "yes"}
    assert "in force" in await admin.press(f"{_BASE}/rules/scans/switch", on)
    said = await admin.press(f"{_BASE}/rules/dry-run", {"study_instance_uid": study}, 200)
    assert "scans fits and sends to PACS" in said
    assert "wants CT or MR or DX , finds CT" in said


async def _jobs(admin: Desk, api: Api, study: str) -> None:
    await Prepared(api.services.superuser_url).fetch(_JOBS)
    page = await admin.page(_BASE)
    assert "its AE title" not in page
    assert "&lt;b&gt;Bold&lt;/b&gt;" in page
    assert "our AE title is not on its list" in page
    assert "2 in all" in page
    assert "1 in all" in await admin.page(_BASE, state="FAILED")
    job = _job("FAILED")
    assert "Job to PACS" in await admin.words(job)
    assert "sent again" in await admin.press(f"{job}/retry")
    await admin.press(_job("SENT") + "/cancel", status=409)
    await admin.press("/worklist/send", {"destination": "PACS", "study": study})
    path = re.findall(r"/transmission/jobs/[0-9a-f]+/cancel", await admin.page(_BASE))[0]
    # Until transmit has taken it, it is on its way and cannot be cancelled.
    said = await until(lambda: admin.press(path), retry=(AssertionError,))
    assert "No more" in str(said)


async def _less(people: dict[str, Desk]) -> None:
    admin, technician, viewer = (people[one] for one in ("admin", "technician", "viewer"))
    job = _job("FAILED")
    seen = await technician.page(_BASE)
    assert "3 in all" in seen
    assert "/retry" not in seen
    assert "/cancel" not in seen
    await technician.press(f"{job}/retry", status=403)
    seen = await technician.page(f"{_BASE}/destinations")
    assert "Test" in seen
    assert "to-add" not in seen
    assert "remove" not in seen
    assert "dry-run" not in await technician.page(f"{_BASE}/rules")
    assert "You may not see this" in await viewer.page(_BASE, 403)
    assert 'href="/transmission"' not in await viewer.page("/worklist")
    await admin.press(f"{_BASE}/destinations/PACS/remove", status=409)
    await admin.press(f"{_BASE}/rules/scans/remove")
