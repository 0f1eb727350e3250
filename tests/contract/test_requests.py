"""Requests and replies, in RabbitMQ and in memory alike."""

import asyncio

import pytest

from darkroom_common.amqp.broker import NoReply, Unroutable
from darkroom_common.amqp.requests import answered
from darkroom_common.errors import DependencyUnavailable, PermanentError, Unhealthy
from darkroom_common.messages.base import Message, Reply, Request
from darkroom_common.messages.events import InstancesStored
from darkroom_common.messages.requests import ActOnPrintJob, EchoDestination
from darkroom_common.messages.resources import DeleteResource, delete
from darkroom_common.resources.declared import DESTINATIONS, SENDERS
from tests.contract.bench import ASKED, LIMIT, QUEUE, Bench, ask, running
from tests.support.builders import instances_stored
from tests.support.waiting import succeeds


async def test_a_request_gets_the_reply_of_its_own(bench: Bench) -> None:
    async def handler(message: Request) -> Reply:
        assert isinstance(message, EchoDestination)
        await asyncio.sleep(0.01 * (ord(message.name[-1]) % 3))
        return Reply(outcome="done", body={"name": message.name})

    with pytest.raises(Unroutable):
        await bench.broker.request(EchoDestination(name="A"), limit=5)
    async with running(bench.broker.answer(ASKED, handler)):
        names = [f"PACS-{n}" for n in range(30)]
        replies = await asyncio.gather(*(ask(bench.broker, EchoDestination(name=n)) for n in names))
    assert [reply.body["name"] for reply in replies] == names
    assert {reply.outcome for reply in replies} == {"done"}


async def test_who_is_well_takes_requests_and_messages(bench: Bench) -> None:
    handled = asyncio.Event()

    async def answer(message: Request) -> Reply:
        return Reply(outcome="done")

    async def handle(message: Message) -> None:
        assert isinstance(message, InstancesStored)
        handled.set()

    async with (
        running(bench.broker.answer(ASKED, answer)),
        running(bench.broker.consume(QUEUE, handle)),
        asyncio.timeout(LIMIT),
    ):
        await asyncio.sleep(0)  # both have begun
        await succeeds(bench.broker.check, Unhealthy, limit=LIMIT)
        reply = await bench.broker.request(EchoDestination(name="A"), limit=LIMIT)
        assert reply.outcome == "done"
        await bench.broker.publish(instances_stored())
        await handled.wait()


async def test_what_a_request_handler_raises_is_a_reply(bench: Bench) -> None:
    errors = {
        "a": PermanentError("there is none"),
        "b": DependencyUnavailable("PostgreSQL: away"),
        "c": ZeroDivisionError("Doe^John"),
    }

    async def handler(message: Request) -> Reply:
        assert isinstance(message, DeleteResource)
        raise errors[message.name]

    async with running(bench.broker.answer(ASKED, handler)):
        replies = [await ask(bench.broker, delete(DESTINATIONS, name)) for name in "abc"]
    assert [(reply.outcome, reply.reason) for reply in replies] == [
        ("invalid", "there is none"),
        ("unavailable", "PostgreSQL: away"),
        ("failed", "ZeroDivisionError"),
    ]


async def test_what_is_taken_after_its_deadline_is_dropped(bench: Bench) -> None:
    """As by a process that was stopped with the request in its hands."""
    done: list[str] = []

    async def handler(message: Request) -> Reply:
        done.append(message.id)
        return Reply(outcome="done")

    requests: list[Request] = [
        EchoDestination(name="A"),
        delete(DESTINATIONS, "A"),
        delete(SENDERS, "A"),
        ActOnPrintJob(job_id="0" * 32, action="cancel"),
    ]
    for request in requests:
        late = request.until(-0.1)
        reply = await answered(handler, late.TYPE, late.to_body())
        assert (reply.outcome, done) == ("unavailable", [])
        for fresh in (request.until(5), request):  # and one of an earlier release
            reply = await answered(handler, fresh.TYPE, fresh.to_body())
            assert reply.outcome == "done"
        done.clear()
    async with running(bench.broker.answer(ASKED, handler)):
        await ask(bench.broker, EchoDestination(name="A"))


async def test_what_is_not_done_at_its_deadline_is_not_done_later(bench: Bench) -> None:
    cancelled, release = asyncio.Event(), asyncio.Event()

    async def handler(_: Request) -> Reply:
        try:
            await release.wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return Reply(outcome="done")

    async with running(bench.broker.answer(ASKED, handler)), asyncio.timeout(LIMIT):
        with pytest.raises(NoReply):
            await ask(bench.broker, EchoDestination(name="A"), limit=0.3)
        await cancelled.wait()


async def test_a_time_limit_of_the_handlers_own_is_a_failure_of_its_own() -> None:
    async def handler(_: Request) -> Reply:
        raise TimeoutError

    request = EchoDestination(name="A").until(30)
    assert (await answered(handler, request.TYPE, request.to_body())).outcome == "failed"


async def test_nobody_answers_in_time_and_the_request_is_dropped(bench: Bench) -> None:
    seen: list[str] = []
    release = asyncio.Event()

    async def stuck(message: Request) -> Reply:
        await release.wait()
        return Reply(outcome="done")

    async def handler(message: Request) -> Reply:
        assert isinstance(message, EchoDestination)
        seen.append(message.name)
        return Reply(outcome="done")

    async with running(bench.broker.answer(ASKED, stuck, concurrency=1)):
        with pytest.raises(NoReply):
            await ask(bench.broker, EchoDestination(name="slow"), limit=0.3)
        release.set()
    with pytest.raises(NoReply):  # nobody takes it at all
        await bench.broker.request(EchoDestination(name="late"), limit=0.3)
    async with running(bench.broker.answer(ASKED, handler)):
        await ask(bench.broker, EchoDestination(name="now"))
    assert "late" not in seen
    assert seen[-1] == "now"
