"""What the broker is given from outside, on a real RabbitMQ."""

import json
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest

from darkroom_common.amqp.definitions import apply_policies, main, password_hash, render_definitions
from darkroom_common.errors import ConfigurationError, DependencyUnavailable
from darkroom_common.topology import render_policies
from tests.conftest import RabbitServer


def management_url(server: RabbitServer, password: str | None = None) -> str:
    where = urlsplit(server.management_url)
    secret = quote(server.password if password is None else password, safe="")
    return where._replace(netloc=f"{server.user}:{secret}@{where.netloc}").geturl()


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
        assert apply_policies(management_url(rabbitmq_server), vhost) == len(wanted)
        with client(rabbitmq_server) as http:
            found = http.get(f"/policies/{vhost}").json()
        assert {policy["name"]: policy for policy in found} == wanted


def test_a_user_who_may_not_is_told_what_is_missing(
    rabbitmq_server: RabbitServer, vhost: str
) -> None:
    with pytest.raises(ConfigurationError, match="policymaker"):
        apply_policies(management_url(rabbitmq_server, "wrong"), vhost)


def test_a_broker_that_is_away_is_unavailable() -> None:
    with pytest.raises(DependencyUnavailable):
        apply_policies("http://user:password@127.0.0.1:1", "/")


def test_definitions_hold_the_user_of_the_url_and_no_password() -> None:
    definitions = render_definitions("amqp://me%40site:se%2Fcret@broker:5672/im%2Fages")
    (user,) = definitions["users"]
    assert (user["name"], user["tags"]) == ("me@site", "")
    assert definitions["vhosts"] == [{"name": "im/ages"}]
    assert definitions["policies"] == render_policies("im/ages")
    assert "se/cret" not in json.dumps(definitions)
    assert password_hash("test12", bytes.fromhex("908DC60A")) == (
        "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"
    )


def test_the_command_writes_a_file_that_another_user_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DARKROOM_AMQP_URL", "amqp://me:secret@broker/")
    target = tmp_path / "definitions.json"
    assert main(["render", str(target)]) == 0
    assert target.stat().st_mode & 0o777 == 0o644
    assert json.loads(target.read_text())["vhosts"] == [{"name": "/"}]
    monkeypatch.setenv("DARKROOM_AMQP_URL", "amqp://broker/")
    assert main(["render", str(target)]) == 1
    assert "no user" in capsys.readouterr().err
    assert main([]) == 2
