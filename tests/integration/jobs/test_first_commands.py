"""transmit, print and licensing as processes: ready, and their first command takes effect once."""

import asyncio

import aio_pika
import pytest

from darkroom_common.amqp.rabbitmq import RabbitBroker
from darkroom_common.messages.base import Message, new_message_id
from darkroom_common.messages.commands import PrintFilm, SendObjects, ValidateLicence
from tests.support.builders import new_uid
from tests.support.database import Prepared
from tests.support.services import Services
from tests.support.waiting import LIMIT, nothing_more, until

CASES: dict[str, tuple[Message, str]] = {
    "transmit": (
        SendObjects(job_id=new_message_id(), destination="PACS", study_instance_uid=new_uid()),
        "SELECT count(*) FROM transmit.job WHERE reason = 'UnknownDestination'",
    ),
    "print": (
        PrintFilm(
            job_id=new_message_id(),
            printer="FILM",
            layout="STANDARD\\2,2",
            sop_instance_uids=(new_uid(),),
        ),
        "SELECT count(*) FROM print.job WHERE state = 'FAILED' AND printer = 'FILM'",
    ),
    "licensing": (
        ValidateLicence(requested_by="somebody"),
        "SELECT count(*) FROM licensing.licence_check WHERE requested_by = 'somebody'",
    ),
}
_QUIET = {
    "licensing": "SELECT EXISTS (SELECT FROM licensing.licence_check)"
    " AND NOT EXISTS (SELECT FROM licensing.outbox)"
}
"""What is true once a service has said what it says at its start."""


@pytest.mark.parametrize("name", sorted(CASES))
async def test_a_command_delivered_twice_is_one_effect_and_one_event(
    services: Services, name: str
) -> None:
    prepared = await Prepared.make(services.superuser_url, name, "metadata")
    await services.start(name)
    message, sql = CASES[name]

    async def quiet() -> bool:
        return bool((await prepared.fetch(_QUIET.get(name, "SELECT true")))[0][0])

    connection = await aio_pika.connect(services.amqp_url)
    async with connection, connection.channel() as channel:
        listener = await channel.declare_queue(exclusive=True)
        await listener.bind("darkroom.events", routing_key="#")
        await until(quiet)
        await listener.purge()
        broker = RabbitBroker(services.amqp_url, service="test")
        try:
            async with asyncio.timeout(LIMIT):
                await broker.publish(message)
                await broker.publish(message)

                async def came() -> bool:
                    return bool((await prepared.fetch(sql))[0][0] == 1)

                await until(came)
                event = None
                while event is None:
                    event = await listener.get(no_ack=True, fail=False)
            await nothing_more(0.5)
            assert await listener.get(no_ack=True, fail=False) is None
        finally:
            await broker.close()
    assert (await prepared.fetch(sql))[0][0] == 1
    assert event.type in {
        "transmit.job.changed.v1",
        "print.job.changed.v1",
        "licence.state.checked.v1",
    }
    assert await services.running[name].stop() == 0
