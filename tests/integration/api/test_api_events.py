"""The event stream: what is seen by whom, from where on, and when it ends."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from darkroom_common.messages.events import PrintJobChanged, StudyCompleted
from tests.integration.api.conftest import Api, running_api
from tests.integration.api.people import signed_in
from tests.integration.api.test_api_callbacks import a_study, publish, sql
from tests.support.services import Services
from tests.support.waiting import until

EVENTS = "/api/v1/events"


@pytest.fixture
async def api(services: Services) -> AsyncIterator[Api]:
    services.extra |= {"EVENT_LISTENERS": "6", "EVENT_LISTENERS_OF_A_USER": "3"}
    async with running_api(services) as made:
        yield made


@dataclass
class Ear:
    """Reads a stream as the HTML standard says."""

    lines: AsyncIterator[str]
    last: str = ""

    async def next(self) -> tuple[str, Any]:
        """The next event that is one; its id is kept."""
        kind, data = "message", ""
        async for line in self.lines:
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                data += value
            elif name == "id":
                self.last = value
            elif not line and data:
                return kind, json.loads(data)
        raise EOFError

    async def uids(self, number: int) -> list[str]:
        return [(await self.next())[1]["data"]["study_instance_uid"] for _ in range(number)]


@asynccontextmanager
async def listening(
    client: httpx.AsyncClient, query: str = "", **headers: str
) -> AsyncIterator[Ear]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.stream("GET", EVENTS + query, headers=sent) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        lines = answer.aiter_lines()
        assert (await anext(lines)).startswith("retry")
        yield Ear(lines)


async def recorded(api: Api, number: int) -> None:
    async def there() -> bool | None:
        rows = await sql(api, "SELECT count(*) AS n FROM api.event")
        return rows[0]["n"] >= number or None

    await until(there)


def a_print() -> PrintJobChanged:
    return PrintJobChanged(job_id="0" * 32, printer="FILM", state="DONE")


async def test_a_listener_goes_on_where_it_was_also_with_another_process(api: Api) -> None:
    async with listening(api.client) as ear:
        await publish(api, a_study("1.1"))
        kind, event = await ear.next()
        assert (kind, event["type"]) == ("study.completed", "study.completed")
        assert event["data"]["study_instance_uid"] == "1.1"
        assert event["timestamp"].endswith("Z")
        seen = ear.last
    await publish(api, a_study("1.2"), a_print(), a_study("1.3"))
    await recorded(api, 4)
    await api.services.running["api"].stop()
    await api.services.start("api")
    async with listening(api.client, last_event_id=seen) as ear:
        assert [(await ear.next())[1]["type"] for _ in range(3)] == [
            "study.completed",
            "print.job_changed",
            "study.completed",
        ]
        await publish(api, a_study("1.4"))
        assert await ear.uids(1) == ["1.4"]
    async with listening(api.client, "?after=0&types=study.completed") as ear:
        assert await ear.uids(4) == ["1.1", "1.2", "1.3", "1.4"]
    await sql(api, "DELETE FROM api.event WHERE number <= $1", int(seen) + 1)
    await sql(api, "UPDATE api.event_log SET removed_to = $1", int(seen) + 1)
    async with listening(api.client, last_event_id="0") as ear:
        assert await ear.next() == ("gap", {"after": "0", "through": str(int(seen) + 1)})
        assert (await ear.next())[0] == "print.job_changed"
    async with listening(api.client, "?after=999999") as ear:
        kind, said = await ear.next()
        assert (kind, said["after"]) == ("gap", "999999")
        await publish(api, a_study("1.5"))
        assert await ear.uids(1) == ["1.5"]
    for wrong, status in (("?types=study.exploded", 422), ("?after=-1", 422), ("?after=x", 422)):
        assert (await api.client.get(EVENTS + wrong)).status_code == status
    assert (await api.anonymous.get(EVENTS)).status_code == 401
    assert (await api.client.head(EVENTS)).status_code == 200


async def test_who_sees_what_and_until_when(api: Api) -> None:
    async with (
        signed_in(api, "viewer") as viewer,
        listening(viewer) as ear,
        listening(api.client) as all_of_it,
    ):
        await publish(api, a_print(), a_study("1.1"))
        assert (await all_of_it.next())[0] == "print.job_changed"
        assert (await ear.next())[0] == "study.completed"
        refused = await viewer.get(f"{EVENTS}?types=print.job_changed")
        assert (refused.status_code, refused.json()["detail"]) == (
            403,
            "Missing permission: print:read",
        )
        await sql(api, "UPDATE api.session SET revoked_at = now()")
        kind, said = await ear.next()
        assert (kind, set(said)) == ("end", {"reason"})
        with pytest.raises(EOFError):
            await ear.next()


async def test_places_are_few_and_free_again_and_a_stop_ends_them(api: Api) -> None:
    async with signed_in(api, "viewer") as viewer:
        async with listening(viewer), listening(viewer), listening(viewer):
            full = await viewer.get(EVENTS)
            assert (full.status_code, full.json()["code"]) == (429, 1005)
            assert int(full.headers["retry-after"]) >= 1
            async with (
                listening(api.client),
                listening(api.client),
                listening(api.client),
                signed_in(api, "technician") as third,
            ):
                assert (await third.get(EVENTS)).status_code == 503

        async def free() -> bool | None:
            async with viewer.stream("GET", EVENTS) as answer:
                return answer.status_code == 200 or None

        await until(free)
    async with listening(api.client) as ear:
        assert await api.services.running["api"].stop() == 0
        with pytest.raises((EOFError, httpx.RemoteProtocolError)):
            await ear.next()


async def test_more_than_is_remembered_is_read_from_the_log(api: Api) -> None:
    data = StudyCompleted(
        study_instance_uid="1", revision=1, series=1, instances=1, modalities=()
    ).model_dump_json()
    await sql(
        api,
        "INSERT INTO api.event (id, type, at, data) SELECT n::text,"
        " CASE WHEN n % 10 = 0 THEN 'study.completed' ELSE 'print.job_changed' END, now(), $1"
        " FROM generate_series(1, 5000) AS made (n)",
        data,
    )
    async with listening(api.client, "?after=0&types=study.completed") as ear:
        assert len(await ear.uids(500)) == 500
