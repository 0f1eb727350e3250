"""Dead letters: taken into keeping, shown without what they say, replayed once, discarded."""

import asyncio
import json
from typing import Any

import aio_pika
import pytest

from darkroom_api.dead_letters.command import NotDone, dead_letters
from darkroom_api.settings import ApiSettings
from darkroom_common.amqp.retry import DEAD_AT, QUEUE, REASON
from darkroom_common.messages.base import new_message_id
from darkroom_common.messages.events import CommandRefused
from darkroom_common.topology import METADATA_INDEX, WORK_QUEUES
from tests.integration.api.conftest import Api
from tests.support.waiting import until

BASE = "/api/v1/dead-letters"
NAME = "DOE^JANE^PLANTED"


async def bury(
    api: Api, body: bytes, *, message_id: str = "", type_: str = "", **more: Any
) -> None:
    """Put a message into a dead-letter queue, as a consumer does."""
    queue = more.pop("queue", METADATA_INDEX)
    async with await aio_pika.connect(api.services.amqp_url) as connection:
        channel = await connection.channel()
        told = {REASON: "PermanentError: it names nothing", QUEUE: queue.name}
        message = aio_pika.Message(
            body,
            message_id=message_id or None,
            type=type_ or None,
            headers={**told, DEAD_AT: "2026-11-26T10:00:00.5+00:00"},
        )
        await channel.default_exchange.publish(message, queue.dead)


async def listed(api: Api, **query: Any) -> dict[str, Any]:
    answer = await api.client.get(BASE, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def kept(api: Api, count: int) -> list[dict[str, Any]]:
    """Wait for so many to be held; return them."""

    async def held() -> list[dict[str, Any]] | None:
        found = (await listed(api, state="HELD", page_size=200))["data"]
        return found if len(found) == count else None

    return await until(held, f"{count} dead letters")


async def take(api: Api, count: int) -> list[aio_pika.abc.AbstractIncomingMessage]:
    """Consume so many from the work queue."""
    async with await aio_pika.connect(api.services.amqp_url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(
            METADATA_INDEX.name, durable=True, arguments=dict(METADATA_INDEX.arguments)
        )

        async def one() -> aio_pika.abc.AbstractIncomingMessage | None:
            return await queue.get(fail=False)

        found = [await until(one, "a message that was put back") for _ in range(count)]
        for message in found:
            await message.ack()
        assert await queue.get(fail=False) is None
        return found


async def test_they_are_shown_by_ids_and_reason_alone(api: Api) -> None:
    refused = CommandRefused(command_id=new_message_id(), type="transmit.send.v1", reason="no")
    body = json.dumps({**json.loads(refused.to_body()), "patient_name": NAME, "pid_id": "4711"})
    await bury(api, body.encode(), message_id=refused.id, type_=CommandRefused.TYPE)
    await bury(api, b"\x00\xff" + NAME.encode(), message_id=f"x {NAME}", type_=f"{NAME}.v1")
    held = await kept(api, 2)
    for one in held:
        answer = await api.client.get(f"{BASE}/{one['letter_id']}")
        assert answer.status_code == 200
        assert NAME not in answer.text
        assert "4711" not in answer.text
        etag = {"if-none-match": answer.headers["etag"]}
        assert (await api.client.get(f"{BASE}/{one['letter_id']}", headers=etag)).status_code == 304
    assert NAME not in json.dumps(held)
    known = next(one for one in held if one["type"])
    shown = (await api.client.get(f"{BASE}/{known['letter_id']}")).json()
    assert shown["ids"] == {"command_id": [refused.command_id]}
    assert shown["reason"] == "PermanentError: it names nothing"
    assert shown["queue"] == METADATA_INDEX.name
    assert (await listed(api, queue="print.jobs"))["total"] == 0
    for wrong in ("none", "0" * 32, "%00"):
        assert (await api.client.get(f"{BASE}/{wrong}")).status_code == 404
        assert (await api.client.post(f"{BASE}/{wrong}/replay")).status_code == 404


@pytest.mark.req("API-15")
async def test_two_operators_replay_it_once(api: Api) -> None:
    await bury(api, b'{"a": 1}', message_id="m-1", type_="some.type.v1")
    ((one,)) = await kept(api, 1)
    url = f"{BASE}/{one['letter_id']}"
    stale = {"if-match": '"7.x"'}
    assert (await api.client.post(f"{url}/replay", headers=stale)).status_code == 412
    answers = await asyncio.gather(*(api.client.post(f"{url}/replay") for _ in range(8)))
    assert {answer.status_code for answer in answers} <= {200, 202}
    (message,) = await take(api, 1)
    assert (message.body, message.message_id, message.type) == (b'{"a": 1}', "m-1", "some.type.v1")
    assert REASON not in message.headers

    async def replayed() -> bool:
        return bool((await api.client.get(url)).json()["state"] == "REPLAYED")

    await until(replayed)
    assert (await api.client.post(f"{url}/discard")).status_code == 409
    logged = (await api.client.get("/api/v1/audit-logs?action=DEAD_LETTER_REPLAY")).json()
    assert [item["resource_id"] for item in logged["data"]] == [one["letter_id"]]


async def test_a_key_answers_an_act_again_and_is_for_nothing_else(api: Api) -> None:
    await bury(api, b'{"a": 1}', message_id="m-3")
    await bury(api, b'{"a": 2}', message_id="m-4")
    one, other = (f"{BASE}/{found['letter_id']}" for found in await kept(api, 2))
    seen = {"if-match": (await api.client.get(one)).headers["etag"], "idempotency-key": "night-1"}
    answers = await asyncio.gather(
        *(api.client.post(f"{one}/replay", headers=seen) for _ in range(4))
    )
    assert {answer.status_code for answer in answers} <= {200, 202}  # 412 without the key
    await take(api, 1)
    assert (await api.client.post(f"{one}/replay", headers=seen)).status_code in (200, 202)
    for url in (f"{one}/discard", f"{other}/replay"):
        refused = await api.client.post(url, headers={"idempotency-key": "night-1"})
        assert (refused.status_code, refused.json()["code"]) == (422, 4001)
    # What was refused has used no key up.
    stale = {"if-match": '"7.x"', "idempotency-key": "night-2"}
    assert (await api.client.post(f"{other}/discard", headers=stale)).status_code == 412
    fresh = {"idempotency-key": "night-2"}
    assert (await api.client.post(f"{other}/discard", headers=fresh)).json()["state"] == "DISCARDED"
    long = {"idempotency-key": "x" * 256}
    assert (await api.client.post(f"{one}/replay", headers=long)).status_code == 422


async def test_a_discarded_one_is_gone_for_good(api: Api) -> None:
    await bury(api, b"{}", message_id="m-2")
    ((one,)) = await kept(api, 1)
    url = f"{BASE}/{one['letter_id']}"
    answer = await api.client.post(f"{url}/discard")
    assert (answer.status_code, answer.json()["state"]) == (200, "DISCARDED")
    assert answer.json()["size"] is None
    assert (await api.client.post(f"{url}/discard")).status_code == 200
    assert (await api.client.post(f"{url}/replay")).status_code == 409


async def test_every_queue_is_emptied_whoever_gave_the_message_up(api: Api) -> None:
    for queue in WORK_QUEUES:
        await bury(api, b"{}", message_id=f"of {queue.name}", queue=queue)
        await bury(api, b"{}", message_id=f"of {queue.name}", queue=queue)  # twice is two
    held = await kept(api, 2 * len(WORK_QUEUES))
    assert {one["queue"] for one in held} == {queue.name for queue in WORK_QUEUES}
    url, together = f"{BASE}?page_size=10", []
    while url:
        page = await api.client.get(url)
        assert page.json()["total"] == 2 * len(WORK_QUEUES)
        together += [one["letter_id"] for one in page.json()["data"]]
        url = page.links.get("next", {}).get("url", "")
    assert sorted(together) == sorted(one["letter_id"] for one in held)


async def test_the_command_replays_a_whole_queue(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(60):
        await bury(api, b"{}", message_id=f"m-{number}")
    held = await kept(api, 60)
    process = api.services.running["api"]
    for name, value in process.environment.items():
        monkeypatch.setenv(name, value)
    settings = ApiSettings.load()
    assert await dead_letters(settings, ["list", "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 60
    assert await dead_letters(settings, ["show", held[0]["letter_id"]]) == 0
    assert await dead_letters(settings, ["discard", held[0]["letter_id"]]) == 0
    with pytest.raises(NotDone):
        await dead_letters(settings, ["discard", held[0]["letter_id"]])
    with pytest.raises(NotDone):
        await dead_letters(settings, ["replay"])
    assert await dead_letters(settings, ["replay", "--queue", "metadata.index", "--all"]) == 0
    came = {message.message_id for message in await take(api, 59)}
    assert came == {f"m-{number}" for number in range(60)} - {held[0]["message_id"]}


async def test_what_is_kept_while_the_api_is_killed_comes_once(api: Api) -> None:
    for number in range(300):
        await bury(api, b"{}", message_id=f"k-{number}")
        if number % 100 == 50:
            await api.services.running["api"].kill()
            await api.services.start("api")

    async def all_there() -> bool:
        return bool((await listed(api))["total"] >= 300)

    await until(all_there)
    held = [(await listed(api, page_size=200, page=page))["data"] for page in (1, 2)]
    assert len({one["message_id"] for page in held for one in page}) == 300
    assert (await listed(api))["total"] == 300
