"""What the broker is given from outside, on a real RabbitMQ."""

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from operator import itemgetter
from pathlib import Path
from urllib.parse import quote, urlsplit

import aio_pika
import httpx
import pytest
from aio_pika.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused

from darkroom_common.amqp.definitions import (
    Management,
    apply_policies,
    apply_users,
    main,
    password_hash,
    render_definitions,
)
from darkroom_common.amqp.permissions import USERS, render_permissions, render_topic_permissions
from darkroom_common.amqp.rabbitmq import declare
from darkroom_common.errors import ConfigurationError, DependencyUnavailable
from darkroom_common.topology import METADATA_INDEX, PRINT_JOBS, render_policies
from tests.conftest import RabbitServer
from tests.support.services import own_url
from tests.support.shared_engine import USER_PASSWORD

PASSWORDS = dict.fromkeys(USERS.values(), "se/cret")


@contextmanager
def management(server: RabbitServer, password: str | None = None) -> Iterator[Management]:
    where = urlsplit(server.management_url)
    secret = quote(server.password if password is None else password, safe="")
    url = where._replace(netloc=f"{server.user}:{secret}@{where.netloc}").geturl()
    with closing(Management(url)) as made:
        yield made


@pytest.fixture
def vhost(rabbitmq_server: RabbitServer, amqp_url: str) -> str:
    """A virtual host, whose policies are taken away first."""
    name = urlsplit(amqp_url).path.removeprefix("/")
    with client(rabbitmq_server) as http:
        for policy in render_policies(name):
            http.delete(f"/policies/{name}/{policy['name']}").raise_for_status()
    return name


def client(server: RabbitServer) -> httpx.Client:
    return httpx.Client(
        base_url=f"{server.management_url}/api",
        auth=(server.user, server.password),
        trust_env=False,
    )


def test_policies_are_applied_and_applied_again(rabbitmq_server: RabbitServer, vhost: str) -> None:
    wanted = {policy["name"]: policy for policy in render_policies(vhost)}
    for _ in range(2):
        with management(rabbitmq_server) as applied:
            assert apply_policies(applied, vhost) == len(wanted)
        with client(rabbitmq_server) as http:
            found = http.get(f"/policies/{vhost}").json()
        assert {policy["name"]: policy for policy in found} == wanted


def test_a_user_who_may_not_is_told_what_is_missing(
    rabbitmq_server: RabbitServer, vhost: str
) -> None:
    with (
        management(rabbitmq_server, "wrong") as refused,
        pytest.raises(ConfigurationError, match="policymaker"),
    ):
        apply_policies(refused, vhost)


def test_users_are_applied_with_what_they_may_do(rabbitmq_server: RabbitServer, vhost: str) -> None:
    passwords = dict.fromkeys(USERS.values(), USER_PASSWORD)  # as they are: others use them
    with client(rabbitmq_server) as http:
        for user in USERS.values():
            http.delete(f"/permissions/{vhost}/{user}").raise_for_status()
    with management(rabbitmq_server) as applied:
        assert apply_users(applied, vhost, passwords) == len(USERS)
    with client(rabbitmq_server) as http:
        found = http.get(f"/vhosts/{vhost}/permissions").json()
        topics = http.get(f"/vhosts/{vhost}/topic-permissions").json()
    ours = [one for one in found if one["user"] in passwords]
    assert sorted(ours, key=itemgetter("user")) == (
        sorted(render_permissions(vhost), key=itemgetter("user"))
    )
    assert len(topics) == len(render_topic_permissions(vhost))


def test_a_broker_that_is_away_is_unavailable() -> None:
    away = Management("http://user:password@127.0.0.1:1")
    with pytest.raises(DependencyUnavailable):
        apply_policies(away, "/")
    with pytest.raises(ConfigurationError, match="MANAGEMENT_URL"):
        Management("amqp://user:password@127.0.0.1")


def test_definitions_hold_a_user_of_each_service_and_no_password() -> None:
    definitions = render_definitions(PASSWORDS, "im/ages")
    assert [user["name"] for user in definitions["users"]] == list(USERS.values())
    assert {user["tags"] for user in definitions["users"]} == {""}
    assert definitions["vhosts"] == [{"name": "im/ages"}]
    assert definitions["permissions"] == render_permissions("im/ages")
    with pytest.raises(ConfigurationError, match="lacks darkroom_print"):
        render_definitions({**PASSWORDS, "darkroom_print": ""})
    assert definitions["policies"] == render_policies("im/ages")
    assert "se/cret" not in json.dumps(definitions)
    assert password_hash("test12", bytes.fromhex("908DC60A")) == (
        "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"
    )


def test_the_command_writes_a_file_that_another_user_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DARKROOM_AMQP_PASSWORDS", json.dumps(PASSWORDS))
    target = tmp_path / "definitions.json"
    assert main(["render", str(target)]) == 0
    assert target.stat().st_mode & 0o777 == 0o644
    assert json.loads(target.read_text())["vhosts"] == [{"name": "/"}]
    monkeypatch.setenv("DARKROOM_AMQP_PASSWORDS", "{}")
    assert main(["render", str(target)]) == 1
    assert "lacks darkroom_ingest" in capsys.readouterr().err
    assert main([]) == 2


async def test_a_service_s_user_gets_at_nothing_of_another_s(amqp_url: str) -> None:
    whole, own = amqp_url, own_url(amqp_url, "print")
    async with await aio_pika.connect(whole) as owner, owner.channel() as everything:
        await declare(everything, METADATA_INDEX)
        await declare(everything, PRINT_JOBS)

        async def refused(attempt: Callable[[AbstractChannel], Awaitable[object]]) -> None:
            async with await aio_pika.connect(own) as connection:
                channel = await connection.channel()
                with pytest.raises(ChannelAccessRefused):
                    await attempt(channel)

        async def take(channel: AbstractChannel) -> None:
            await (await channel.get_queue(METADATA_INDEX.name, ensure=False)).get(fail=False)

        async def listen(channel: AbstractChannel) -> None:
            queue = await channel.get_queue(PRINT_JOBS.name, ensure=False)
            await queue.bind("darkroom.events", routing_key="dicom.instances.stored.v2")

        async def pretend(channel: AbstractChannel) -> None:
            exchange = await channel.get_exchange("darkroom.events", ensure=False)
            await exchange.publish(aio_pika.Message(b"{}"), "dicom.instances.stored.v2")

        async def remove(channel: AbstractChannel) -> None:
            await channel.queue_delete(METADATA_INDEX.name)

        for attempt in (take, listen, pretend, remove):
            await refused(attempt)

        async with await aio_pika.connect(own) as connection:
            channel = await connection.channel()
            await declare(channel, PRINT_JOBS)
