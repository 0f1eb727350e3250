"""Callbacks: signed, at least once, to nowhere they should not go, and off when they fail."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aio_pika
import pytest

from darkroom_common.messages.base import Event
from darkroom_common.messages.events import StudyCompleted, TransmitJobChanged
from tests.integration.api.conftest import Api, running_api
from tests.integration.api.people import signed_in
from tests.support.callback_receiver import Receiver, a_receiver, documented_check
from tests.support.database import Prepared
from tests.support.services import Services
from tests.support.waiting import until

CALLBACKS = "/api/v1/callbacks"
LONG_AGO = "2020-01-01T00:00:00Z"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
QUICK = {"initial_seconds": 0.1, "multiplier": 1, "ceiling_seconds": 0.1, "max_attempts": 3}


@pytest.fixture
def verified(tmp_path: Path) -> Callable[..., bool]:
    return documented_check(tmp_path)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with a_receiver() as made:
        yield made


@pytest.fixture
async def api(services: Services) -> AsyncIterator[Api]:
    services.extra |= {
        "CALLBACK_NETWORKS": '["127.0.0.0/8"]',
        "CALLBACK_HTTP": "true",
        "LEASE_SECONDS": "3",
    }
    async with running_api(services) as made:
        yield made


def a_study(uid: str = "1.2.3", **more: Any) -> StudyCompleted:
    return StudyCompleted(
        study_instance_uid=uid, revision=1, series=2, instances=40, modalities=("CT",), **more
    )


async def publish(api: Api, *events: Event) -> None:
    async with await aio_pika.connect(api.services.amqp_url) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange("darkroom.events")
        for event in events:
            message = aio_pika.Message(
                event.to_body(),
                message_id=event.id,
                type=event.TYPE,
                delivery_mode=2,
                headers={"traceparent": TRACE},
            )
            await exchange.publish(message, event.TYPE)


async def add(api: Api, url: str, *events: str, **more: Any) -> Any:
    given = {"name": "ris", "url": url, "events": events or ["*"], "backoff": QUICK, **more}
    answer = await api.client.post(CALLBACKS, json=given)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def act(api: Api, path: str, given: Any = None, status: int = 202) -> Any:
    answer = await api.client.post(f"{CALLBACKS}/ris/{path}", json=given)
    assert answer.status_code == status, answer.text
    return answer.json()


async def shown(api: Api, path: str = "ris") -> Any:
    answer = await api.client.get(f"{CALLBACKS}/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def deliveries(api: Api, state: str = "", least: int = 1) -> list[Any]:
    """Wait for so many deliveries of a state; return them, the oldest first."""
    query = f"?sort=created_at{'&state=' + state if state else ''}"

    async def there() -> list[Any] | None:
        found: list[Any] = (await shown(api, f"ris/deliveries{query}"))["data"]
        return found if len(found) >= least else None

    return await until(there, f"{least} deliveries {state}")


async def sql(api: Api, statement: str, *values: object) -> list[Any]:
    return await Prepared(api.services.superuser_url).fetch(statement, *values)


async def test_an_event_is_posted_once_and_signed_by_both_secrets(
    api: Api, receiver: Receiver, verified: Callable[..., bool]
) -> None:
    made = await add(api, receiver.url, "study.completed")
    event = a_study()
    job = TransmitJobChanged(job_id="0" * 32, destination="PACS", state="SENT")
    await publish(api, event, event, job, event)
    await deliveries(api, "DELIVERED")
    came = receiver.came[0]
    assert came.path == "/hook?of=darkroom"
    assert verified(made["secret"], came.headers, came.body)
    assert not verified(made["secret"], came.headers, came.body + b" ")
    assert came.headers["traceparent"].split("-")[1] == TRACE.split("-")[1]
    assert came.headers["traceparent"] != TRACE  # a span of its own
    assert came.event == {
        "id": event.id,
        "type": "study.completed",
        "timestamp": event.occurred_at.isoformat().replace("+00:00", "Z"),
        "data": {
            "study_instance_uid": "1.2.3",
            "revision": 1,
            "series": 2,
            "instances": 40,
            "modalities": ["CT"],
            "calling_ae_titles": [],
        },
    }
    assert "secret" not in await shown(api)
    dumped = await sql(api, "SELECT c::text AS row FROM api.callback c")
    assert made["secret"][8:] not in dumped[0]["row"]
    fresh = await act(api, "rotate-secret", {"overlap_seconds": 3600}, 200)
    sent = await act(api, "test")
    await until(lambda: len(receiver.came) > 1 or None)
    test = receiver.came[1]
    assert test.event["type"] == "callback.test"
    assert (test.id, sent["event_id"]) == (test.event["id"], test.event["id"])
    assert len(test.headers["webhook-signature"].split(" ")) == 2
    assert all(verified(one, test.headers, test.body) for one in (made["secret"], fresh["secret"]))
    await sql(api, "UPDATE api.callback SET former_until = now()")
    await act(api, "test")
    await until(lambda: len(receiver.came) > 2 or None)
    assert not verified(made["secret"], receiver.came[2].headers, receiver.came[2].body)
    assert verified(fresh["secret"], receiver.came[2].headers, receiver.came[2].body)
    assert len(receiver.of("study.completed")) == 1


async def test_of_several_who_declare_the_same_one_only_the_first_is_given_a_secret(
    api: Api, receiver: Receiver, verified: Callable[..., bool]
) -> None:
    given = {"url": receiver.url, "events": ["*"], "backoff": QUICK}
    answers = await asyncio.gather(
        *(api.client.put(f"{CALLBACKS}/ris", json=given) for _ in range(6))
    )
    assert sorted(one.status_code for one in answers) == [*[200] * 5, 201]
    (secret,) = (one.json()["secret"] for one in answers if "secret" in one.json())
    await act(api, "test")
    await until(lambda: receiver.came or None)
    assert verified(secret, receiver.came[0].headers, receiver.came[0].body)


async def test_what_is_not_taken_is_tried_again_then_the_callback_is_disabled(
    api: Api, receiver: Receiver
) -> None:
    receiver.moods = [500, 302, "huge"]
    receiver.more = "location: http://127.0.0.1:1/elsewhere\r\n"
    await add(api, receiver.url, "study.completed", disable_after=2, timeout_seconds=1)
    await publish(api, a_study("1.1"))
    first = (await deliveries(api, "DELIVERED"))[0]
    detail = await shown(api, f"ris/deliveries/{first['delivery_id']}")
    said = [(one["number"], one["status"]) for one in detail["attempt_list"]]
    assert said == [(3, 200), (2, 302), (1, 500)]
    assert {one.id for one in receiver.came} == {first["event_id"]}
    receiver.usual = "hang"
    await publish(api, a_study("1.2"))
    hung = (await deliveries(api, "FAILED"))[0]
    assert (hung["attempts"], hung["status"]) == (3, None)
    assert hung["reason"] == "It does not answer in time."
    assert (await shown(api))["disabled_at"] is None
    receiver.usual = "nonsense"
    await publish(api, a_study("1.3"))
    await deliveries(api, "FAILED", 2)
    state = await shown(api)
    assert state["disabled_at"] is not None
    assert state["disabled_reason"] == "What it answers is not HTTP."
    told = await sql(api, "SELECT data FROM api.event WHERE type = 'callback.disabled'")
    assert json.loads(told[0]["data"])["callback"] == "ris"
    await publish(api, a_study("1.4"))
    await until(lambda: recorded(api, 4))
    assert len(await deliveries(api)) == 3  # none for what comes while it is disabled
    receiver.usual = 204
    await act(api, "replay", {"since": LONG_AGO}, 409)
    assert await act(api, "enable", {"replay": True}, 200) == {
        "deliveries": 1,
        "continue_after": None,
    }
    await deliveries(api, "DELIVERED", 2)
    missed = await act(api, "replay", {"since": LONG_AGO})
    assert missed["deliveries"] == 2  # those that had failed
    await deliveries(api, "DELIVERED", 4)
    since = {"since": LONG_AGO, "delivered_too": True}
    once = {"idempotency-key": "all of it"}
    for _ in range(2):
        answer = await api.client.post(f"{CALLBACKS}/ris/replay", json=since, headers=once)
        assert (answer.status_code, answer.json()["deliveries"]) == (202, 4)
    await deliveries(api, "DELIVERED", 4)
    again = await act(api, f"deliveries/{first['delivery_id']}/replay", status=202)
    assert again["event_id"] == first["event_id"]
    once = {"idempotency-key": "a trial"}
    tried = [await api.client.post(f"{CALLBACKS}/ris/test", headers=once) for _ in range(2)]
    assert tried[0].status_code == 202
    assert tried[0].json() == tried[1].json()


async def recorded(api: Api, least: int) -> bool | None:
    rows = await sql(api, "SELECT count(*) AS n FROM api.event WHERE type = 'study.completed'")
    return rows[0]["n"] >= least or None


async def test_410_disables_at_once_and_retry_after_is_heeded(api: Api, receiver: Receiver) -> None:
    receiver.moods, receiver.more = [503], "retry-after: 3600\r\n"
    await add(api, receiver.url, "study.completed")
    await publish(api, a_study())
    waiting = (await deliveries(api, "RETRYING"))[0]
    created, due = waiting["created_at"], waiting["next_at"]
    assert due[:13] != created[:13] or due[11:13] != created[11:13]  # an hour on
    receiver.usual = 410
    await act(api, f"deliveries/{waiting['delivery_id']}/replay")
    await deliveries(api, "FAILED")
    assert (await shown(api))["disabled_reason"] == "It answers 410."


async def test_a_delivery_survives_the_death_of_the_api_under_the_same_id(
    api: Api, receiver: Receiver, verified: Callable[..., bool]
) -> None:
    receiver.moods = ["hang"]
    made = await add(api, receiver.url, "study.completed", timeout_seconds=30)
    event = a_study()
    await publish(api, event)
    await until(lambda: receiver.came or None)
    await api.services.running["api"].kill()
    await publish(api, later := a_study("1.9"))
    await api.services.start("api")
    await until(lambda: len({one.id for one in receiver.came[1:]}) == 2 or None)
    assert {one.id for one in receiver.came[1:]} == {event.id, later.id}
    assert all(verified(made["secret"], one.headers, one.body) for one in receiver.came)


async def test_who_may_have_whom_told_of_what(api: Api, receiver: Receiver) -> None:
    for given, field in (
        ({"url": "ftp://ris.example/"}, "body.url"),
        ({"url": "https://user:secret@ris.example/"}, "body.url"),
        ({"url": "https://ris.example/#part"}, "body.url"),
        ({"url": "https://ris.example\r\nx: y/"}, "body.url"),
        ({"events": []}, "body.events"),
        ({"events": ["study.exploded"]}, "body.events"),
        ({"secret": "whsec_short"}, "body.secret"),
    ):
        body = {"name": "no", "url": receiver.url, "events": ["*"], **given}
        answer = await api.client.post(CALLBACKS, json=body)
        assert answer.status_code == 422, (given, answer.text)
        assert answer.json()["errors"][0]["field"].startswith(field), answer.text
    role = {"role_name": "integrator", "permissions": ["callbacks:write", "callbacks:read"]}
    assert (await api.client.post("/api/v1/roles", json=role)).status_code == 201
    async with signed_in(api, "integrator") as somebody:
        body = {"name": "ris", "url": receiver.url, "events": ["study.completed"]}
        answer = await somebody.post(CALLBACKS, json=body)
        assert (answer.status_code, answer.json()["detail"]) == (
            403,
            "Missing permission: studies:read",
        )
        body["events"] = ["callback.disabled"]
        assert (await somebody.post(CALLBACKS, json=body)).status_code == 201
        assert (await somebody.put(f"{CALLBACKS}/ris", json=body)).status_code in (403, 422)
    gone = await api.client.delete(f"{CALLBACKS}/ris")
    assert gone.status_code == 204
    assert (await api.client.post(f"{CALLBACKS}/ris/test")).status_code == 404
    types = (await api.client.get("/api/v1/event-types")).json()["data"]
    assert {"type", "permission", "description"} == set(types[0])


async def test_private_addresses_are_refused_unless_they_are_allowed(
    services: Services, receiver: Receiver
) -> None:
    async with running_api(services) as api:
        body = {"name": "ris", "url": receiver.url, "events": ["*"]}
        answer = await api.client.post(CALLBACKS, json=body)
        assert answer.status_code == 422
        body["url"] = receiver.url.replace("http://127.0.0.1", "https://2130706433")
        assert (await api.client.post(CALLBACKS, json=body)).status_code == 201
        await act(api, "test")
        failed = (await deliveries(api, "FAILED"))[0]
        assert "CALLBACK_NETWORKS" in failed["reason"]
        assert not receiver.came
