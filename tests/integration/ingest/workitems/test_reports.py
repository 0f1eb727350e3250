"""UPS-RS: who subscribes is told by WebSocket, once back also of what came meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from tests.integration.api.accounts.people import a_person, add_role
from tests.integration.api.conftest import Api
from tests.integration.ingest.test_worklist_rest import ENTRY
from tests.integration.ingest.workitems.asking import (
    BASE,
    FILTERED,
    GLOBAL,
    JSON,
    STATE,
    a_change,
    a_workitem,
)
from tests.support.builders import new_uid
from tests.support.waiting import LIMIT, until

OURS = "1.2.3.1"
MOST_SOCKETS = 20


@asynccontextmanager
async def listening(house: Api, ae_title: str, **more: Any) -> AsyncIterator[ClientConnection]:
    token = house.tokens["access_token"]
    headers = {"Authorization": f"Bearer {token}"} | more.pop("headers", {})
    url = f"{house.url.replace('http', 'ws', 1)}/dicom-web/subscribers/{ae_title}"
    async with websockets.connect(
        url, additional_headers=headers, compression=None, **more
    ) as made:
        yield made


async def told(socket: ClientConnection) -> tuple[str, int, str]:
    """Return UID, event type and state of the next report."""
    report = json.loads(await asyncio.wait_for(socket.recv(), LIMIT))
    assert report["00000002"]["Value"] == ["1.2.840.10008.5.1.4.34.6.4"]
    state = report.get(STATE, {}).get("Value", [""])[0]
    return report["00001000"]["Value"][0], report["00001002"]["Value"][0], state


async def create(house: Api, **given: Any) -> str:
    uid = new_uid()
    made = await house.client.post(f"{BASE}?{uid}", json=a_workitem(**given), headers=JSON)
    assert made.status_code == 201, made.text
    return uid


async def put(house: Api, uid: str, state: str) -> None:
    path = f"{BASE}/{uid}/state"
    answer = await house.client.put(path, json=a_change(state, OURS), headers=JSON)
    assert answer.status_code == 200, answer.text


async def subscribe(house: Api, target: str, ae_title: str, query: str = "") -> None:
    answer = await house.client.post(f"{BASE}/{target}/subscribers/{ae_title}{query}")
    assert answer.status_code == 201, answer.text
    where = f"{house.url.replace('http', 'ws', 1)}/dicom-web/subscribers/{ae_title}"
    assert answer.headers["content-location"] == where


@pytest.mark.req("API-18")
async def test_subscribers_are_told_of_what_concerns_them(house: Api) -> None:
    client = house.client
    before = await create(house)
    await subscribe(house, GLOBAL, "ALL")
    await subscribe(house, FILTERED, "SOME", "?filter=00100020=PLANTED-X")
    await subscribe(house, before, "ONE")
    async with (
        listening(house, "ALL") as every,
        listening(house, "SOME") as some,
        listening(house, "ONE") as one,
    ):
        assert await told(every) == (before, 1, "SCHEDULED")
        assert await told(one) == (before, 1, "SCHEDULED")
        other = await create(house, t00100020={"vr": "LO", "Value": ["PLANTED-X"]})
        assert await told(every) == await told(some) == (other, 1, "SCHEDULED")
        await put(house, before, "IN PROGRESS")
        assert await told(every) == await told(one) == (before, 1, "IN PROGRESS")
        progress = {"00741002": {"vr": "SQ", "Value": [{"00741004": {"vr": "DS", "Value": [40]}}]}}
        answer = await client.post(
            f"{BASE}/{before}?transaction-uid={OURS}", json=progress, headers=JSON
        )
        assert answer.status_code == 200, answer.text
        assert await told(every) == await told(one) == (before, 3, "")
        why = {"00741238": {"vr": "LT", "Value": ["not needed"]}}
        answer = await client.post(f"{BASE}/{before}/cancelrequest/ASKER", json=why, headers=JSON)
        assert answer.status_code == 202
        wish = json.loads(await asyncio.wait_for(one.recv(), LIMIT))
        assert wish["00001002"]["Value"] == [2]
        assert wish["00741238"]["Value"] == ["not needed"]
        assert wish["00741236"]["Value"] == ["ASKER"]
        assert await told(every) == (before, 2, "IN PROGRESS")
        # nobody has claimed the other one: it is canceled, by the way of the standard
        assert (await client.post(f"{BASE}/{other}/cancelrequest")).status_code == 202
        assert await told(some) == (other, 1, "IN PROGRESS")
        assert await told(some) == (other, 1, "CANCELED")
        assert [(await told(every))[2] for _ in range(2)] == ["IN PROGRESS", "CANCELED"]
        entry = (await client.post("/api/v1/worklist", json=ENTRY)).json()
        scheduled = f"2.25.{int(entry['id'], 16)}"
        assert await told(every) == (scheduled, 1, "SCHEDULED")
        theirs = ENTRY | {"patient_id": "PLANTED-X", "scheduled_procedure_step_id": "S2"}
        entry_of_x = (await client.post("/api/v1/worklist", json=theirs)).json()
        fitting = f"2.25.{int(entry_of_x['id'], 16)}"
        assert await told(every) == await told(some) == (fitting, 1, "SCHEDULED")
        await subscribe(house, FILTERED, "LATER", "?filter=00100020=PLANTED-X,00741000=SCHEDULED")
        async with listening(house, "LATER") as later:
            assert await told(later) == (fitting, 1, "SCHEDULED")
        changed = await client.put(
            f"/api/v1/worklist/{entry['id']}", json={**ENTRY, "state": "STARTED"}
        )
        assert changed.status_code == 200, changed.text
        assert await told(every) == (scheduled, 1, "IN PROGRESS")
    await ended(house, before)
    await refused(house)


async def ended(house: Api, before: str) -> None:
    """Suspend, unsubscribe, and a deletion lock."""
    client = house.client
    answer = await client.post(f"{BASE}/{GLOBAL}/subscribers/ALL/suspend")
    assert answer.status_code == 200
    again = await client.post(f"{BASE}/{GLOBAL}/subscribers/ALL/suspend")
    assert (again.status_code, again.json()["dicom_status"]) == (404, "C307")
    unseen = await create(house)
    async with listening(house, "ALL") as every:
        await put(house, before, "CANCELED")
        assert await told(every) == (before, 1, "CANCELED")
        assert (await client.delete(f"{BASE}/{before}/subscribers/ALL")).status_code == 200
    assert (await client.delete(f"{BASE}/{unseen}/subscribers/ALL")).status_code == 404
    await subscribe(house, before, "KEEPER", "?deletionlock=true")
    await removed_but_not(house, kept=before)


async def removed_but_not(house: Api, *, kept: str) -> None:
    """Let all that has ended be long ago; what somebody keeps stays, the others are gone."""
    gone = await create(house)
    assert (await house.client.post(f"{BASE}/{gone}/cancelrequest")).status_code == 202
    db = await asyncpg.connect(house.services.superuser_url)
    try:
        await db.execute("UPDATE ingest.workitem SET updated_at = now() - interval '91 days'")
    finally:
        await db.close()
    await house.services.running["ingest"].stop()
    await house.services.start("ingest")

    async def is_gone() -> bool:
        return (await house.client.get(f"{BASE}/{gone}")).status_code == 410

    await until(is_gone, "what has ended removed")
    assert (await house.client.get(f"{BASE}/{kept}")).status_code == 200
    async with listening(house, "SOME") as some:
        found = await told(some)
        while found[1] != 4:  # what had not been known to arrive is told again
            found = await told(some)
        assert found == (GLOBAL, 4, "")  # it went down
        assert await told(some) == (GLOBAL, 4, "")  # and came back
    db = await asyncpg.connect(house.services.superuser_url)
    try:
        told_of = await db.fetch(
            "SELECT state FROM ingest.workitem_report WHERE event_type = 4 AND ae_title = 'SOME'"
            " ORDER BY number"
        )
    finally:
        await db.close()
    assert [row["state"] for row in told_of][-2:] == ["GOING DOWN", ""]


async def refused(house: Api) -> None:
    client = house.client
    unknown = await client.post(f"{BASE}/{new_uid()}/subscribers/ONE")
    assert (unknown.status_code, unknown.json()["dicom_status"]) == (404, "C307")
    for path in (
        f"{BASE}/{FILTERED}/subscribers/ONE",
        f"{BASE}/{FILTERED}/subscribers/ONE?filter=NoSuch=1",
        f"{BASE}/{FILTERED}/subscribers/ONE?filter=00100030=x",
        f"{BASE}/{FILTERED}/subscribers/ONE?filter=00100020=a%00b",
        f"{BASE}/{GLOBAL}/subscribers/ONE?filter=00100020=1",
        f"{BASE}/{GLOBAL}/subscribers/TOO-LONG-A-TITLE-IT-IS",
        f"{BASE}/{GLOBAL}/subscribers/ONE?deletionlock=perhaps",
    ):
        assert (await client.post(path)).status_code == 400, path
    there = "/dicom-web/subscribers/ONE"
    assert (await house.anonymous.get(there)).status_code == 401
    plain = await client.get(there)
    assert (plain.status_code, plain.headers["sec-websocket-version"]) == (426, "13")
    asked = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "13"}
    head = await client.head(there, headers=asked | {"sec-websocket-key": "A" * 22 + "=="})
    assert head.status_code == 426
    with pytest.raises(websockets.InvalidStatus) as page:
        async with listening(house, "ONE", headers={"Origin": "https://elsewhere.example"}):
            pass
    assert page.value.response.status_code == 403
    async with listening(house, "ONE") as socket:
        await asyncio.wait_for(await socket.ping(), LIMIT)
        await socket.send("x" * 100_000)
        await asyncio.wait_for(socket.wait_closed(), LIMIT)
        assert socket.close_code == 1003
    async with listening(house, "ONE", ping_interval=None) as socket:
        for _ in range(1000):
            await socket.ping()
        await asyncio.wait_for(socket.wait_closed(), LIMIT)
        assert socket.close_code == 1008


def holders(house: Api) -> list[int]:
    """Return how many connections each process of the api has to its port."""
    running = house.services.running["api"].process
    assert running is not None
    ours = f":{house.services.http_port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(ours) and row[3] == "01"}
    found = []
    for child in Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split():
        links = [str(one.readlink()) for one in Path(f"/proc/{child}/fd").iterdir()]
        found.append(len(inodes & set(links)))
    return found


async def test_whatever_process_they_listen_to_they_are_told(house: Api) -> None:
    """Listeners of two processes hear of what is asked of either; who they may listen as."""
    await subscribe(house, GLOBAL, "ALL")
    async with AsyncExitStack() as stack:
        sockets: list[ClientConnection] = []
        while len(sockets) < 2 or 0 in holders(house):
            assert len(sockets) < MOST_SOCKETS
            sockets.append(await stack.enter_async_context(listening(house, "ALL")))
        assert len(holders(house)) == 2
        for _ in range(4):
            uid = await create(house)
            assert {await told(one) for one in sockets} == {(uid, 1, "SCHEDULED")}
    # An account that may only read is told as the AE of its name, and as no other.
    await add_role(house, "clerk", "mpps:read")
    reader = await a_person(house, "reading", "clerk")
    headers = {"Authorization": f"Bearer {reader.tokens['access_token']}"}
    async with listening(house, "READING", headers=headers):
        pass
    with pytest.raises(websockets.InvalidStatus) as other:
        async with listening(house, "ALL", headers=headers):
            pass
    assert other.value.response.status_code == 403


@pytest.mark.req("API-18")
async def test_nothing_is_lost_by_a_death(house: Api) -> None:
    """Of an api between a change and its report, and of a subscriber that has not had it."""
    await subscribe(house, GLOBAL, "ALL")
    async with listening(house, "ALL") as every:
        first = await create(house)
        assert await told(every) == (first, 1, "SCHEDULED")
        second = await create(house)
        await house.services.running["api"].kill()  # it may have been sent, or not
        seen = [first]
        try:
            while True:
                seen.append((await told(every))[0])
        except websockets.ConnectionClosed:
            pass
    await house.services.start("api")
    answer = await house.sign_in("admin", house.services.admin_password)
    house.tokens.update(answer.json())
    house.client.headers["authorization"] = f"Bearer {house.tokens['access_token']}"
    third = await create(house)
    async with listening(house, "ALL") as every:
        found = []
        while third not in found:
            found.append((await told(every))[0])
    assert second in seen + found
    assert found.index(third) == len(found) - 1
    assert len(found) == len(set(found))

    async def kept() -> bool:
        db = await asyncpg.connect(house.services.superuser_url)
        try:
            number = await db.fetchval("SELECT delivered FROM api.workitem_subscriber")
            return bool(
                number == await db.fetchval("SELECT max(number) FROM ingest.workitem_report")
            )
        finally:
            await db.close()

    await until(kept, "what has arrived kept")
    async with listening(house, "ALL") as every:
        fourth = await create(house)
        assert await told(every) == (fourth, 1, "SCHEDULED")
