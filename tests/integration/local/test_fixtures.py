"""What the fixtures of tests/conftest.py promise to other tests."""

from typing import Any
from urllib.parse import urlsplit

import aio_pika
import asyncpg
import pytest

from darkroom_local.engines.postgres import PrivatePostgres
from darkroom_local.engines.rabbitmq import PrivateRabbitMQ


@pytest.mark.parametrize("time", [1, 2])
async def test_each_test_gets_an_empty_database(superuser_url: str, time: int) -> None:
    connection = await asyncpg.connect(superuser_url)
    await connection.execute("CREATE EXTENSION pgcrypto")
    await connection.execute("CREATE EXTENSION pg_trgm")
    await connection.execute("CREATE TABLE mine (id int)")
    assert await connection.fetchval("SHOW fsync") == "off"
    await connection.close()


def test_a_database_is_there_for_synchronous_tests_too(superuser_url: str) -> None:
    assert urlsplit(superuser_url).path.startswith("/test_")


@pytest.mark.parametrize("time", [1, 2])
async def test_each_test_gets_an_empty_vhost(amqp_url: str, time: int) -> None:
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(
            "mine", durable=True, arguments={"x-queue-type": "quorum"}
        )
        assert queue.declaration_result.message_count == 0
        await channel.default_exchange.publish(aio_pika.Message(b"x"), "mine")


async def test_policies_reach_the_queues(rabbitmq_server: Any) -> None:
    policy = {
        "vhost": "with-policy",
        "name": "short",
        "pattern": "^short",
        "apply-to": "queues",
        "definition": {"max-length": 3},
        "priority": 1,
    }
    with rabbitmq_server.management() as management:
        management.create_vhost("with-policy", [policy])
        async with await aio_pika.connect(rabbitmq_server.url("with-policy")) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue("short.one", durable=True)
            for body in (b"1", b"2", b"3", b"4", b"5"):
                await channel.default_exchange.publish(aio_pika.Message(body), queue.name)
            left = await channel.declare_queue("short.one", passive=True)
        management.delete_vhost("with-policy")
    assert left.declaration_result.message_count == 3


async def test_own_postgres_heals_after_kill(own_postgres: PrivatePostgres) -> None:
    survivor = await asyncpg.connect(own_postgres.superuser_url())
    await survivor.execute("CREATE TABLE kept AS SELECT 1 AS id")
    await own_postgres.kill()
    await own_postgres.start()
    survivor.terminate()
    connection = await asyncpg.connect(own_postgres.superuser_url())
    assert await connection.fetchval("SELECT count(*) FROM kept") == 1
    await connection.close()


async def test_own_rabbitmq_can_be_out_and_back(own_rabbitmq: PrivateRabbitMQ) -> None:
    await own_rabbitmq.stop_app()
    with pytest.raises((OSError, aio_pika.exceptions.AMQPError)):
        await aio_pika.connect(own_rabbitmq.url(), timeout=2)
    await own_rabbitmq.start_app()
    async with await aio_pika.connect(own_rabbitmq.url()) as connection:
        assert not connection.is_closed
