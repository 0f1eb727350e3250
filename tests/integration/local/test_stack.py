"""`darkroom up`: real engines, small programs in place of the services."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from darkroom_local.engines.ports import free_port
from darkroom_local.engines.process import leftovers
from darkroom_local.stack.layout import SERVICES, Settings
from darkroom_local.stack.stack import PortBusyError, Stack
from darkroom_local.stack.view import SteadyConsole
from tests.support.waiting import until

FAKE_STACK = Path(__file__).with_name("fake_stack.py")


class Running:
    """A stack in a process of its own, and its output."""

    def __init__(self, data: Path, *kind: str, **environment: str) -> None:
        self.data = data
        self._kind = kind
        self._environment = {**os.environ, **environment}
        self._ports = [str(free_port()), str(free_port()), str(free_port())]
        self._process: asyncio.subprocess.Process | None = None

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process
        return self._process

    async def start(self) -> float:
        """Return after how many seconds it was ready."""
        began = time.monotonic()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(FAKE_STACK),
            str(self.data),
            *self._ports,
            *self._kind,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        await self.line("Darkroom is ready")
        return time.monotonic() - began

    async def line(self, wanted: str) -> str:
        """Wait for a line of output that contains `wanted`."""
        assert self.process.stdout
        seen = []
        async with asyncio.timeout(60):
            while line := (await self.process.stdout.readline()).decode():
                seen.append(line)
                if wanted in line:
                    return line
        raise AssertionError("".join(seen))

    async def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        async with asyncio.timeout(60):
            await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode

    def states(self) -> dict[str, dict[str, Any]]:
        content = json.loads((self.data / "run" / "state.json").read_text())
        return {one["name"]: one for one in content["processes"]}

    def environment(self, name: str) -> str:
        return Path(f"/proc/{self.states()[name]['pid']}/environ").read_text()

    def left(self) -> list[int]:
        directories = (self.data, self.data / "postgres", self.data / "rabbitmq")
        return [pid for directory in directories for pid in leftovers(directory)]


@pytest.fixture
async def external(
    engine_directory: Path, superuser_url: str, amqp_url: str
) -> AsyncIterator[Callable[..., Running]]:
    """Makes a stack that uses the engines of the test run: it is ready at once."""
    made: list[Running] = []

    def make(*kind: str) -> Running:
        urls = {"DARKROOM_POSTGRES_URL": superuser_url, "DARKROOM_AMQP_URL": amqp_url}
        made.append(Running(engine_directory / "data", *kind, **urls))
        return made[-1]

    yield make
    for stack in made:
        if stack.process.returncode is None:
            await stack.end(signal.SIGKILL)


@pytest.mark.req("DEP-01")
async def test_survives_its_own_murder_and_leaves_nothing(engine_directory: Path) -> None:
    stack = Running(engine_directory / "data")
    await stack.start()
    ports = (stack.data / "run" / "ports.json").read_text()
    password = (stack.data / "admin-password").read_text()
    assert set(stack.states()) == {"postgres", "rabbitmq", *SERVICES}

    await stack.end(signal.SIGKILL)
    assert await stack.start() < 30
    assert (stack.data / "run" / "ports.json").read_text() == ports
    assert (stack.data / "admin-password").read_text() == password

    for engine in ("postgres", "rabbitmq"):
        os.kill(stack.states()[engine]["pid"], signal.SIGKILL)
        await stack.line(f"{engine} restarting")
        await stack.line(f"{engine} ready")

    assert await stack.end(signal.SIGTERM) == 0
    assert stack.left() == []


async def test_nothing_outlives_a_killed_stack_that_is_not_started_again(
    external: Callable[..., Running],
) -> None:
    stack = external()
    await stack.start()
    await stack.end(signal.SIGKILL)
    await until(lambda: not stack.left())


async def test_a_crashed_service_is_started_again(external: Callable[..., Running]) -> None:
    stack = external()
    await stack.start()
    os.kill(stack.states()["metadata"]["pid"], signal.SIGKILL)
    await stack.line("metadata restarting: ended with code -9")
    await stack.line("metadata ready")
    assert stack.states()["metadata"]["restarts"] == 1
    assert await stack.end(signal.SIGINT) == 0
    assert "drained" in (stack.data / "logs" / "metadata.log").read_text()
    assert stack.left() == []


async def test_a_second_signal_hurries(external: Callable[..., Running]) -> None:
    stack = external("stubborn")
    await stack.start()
    stack.process.send_signal(signal.SIGTERM)
    await stack.line("stopping")
    began = time.monotonic()
    assert await stack.end(signal.SIGTERM) == 0
    assert time.monotonic() - began < 20  # without it 25, or for ever
    assert stack.left() == []


async def test_a_second_stack_in_the_same_directory_is_refused(
    external: Callable[..., Running],
) -> None:
    stack = external()
    await stack.start()
    second = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "darkroom_local", "up", "--data", str(stack.data)],
        stderr=subprocess.PIPE,
    )
    _, said = await second.communicate()
    assert second.returncode == 1
    assert f"in use by process {stack.process.pid}" in said.decode()
    assert await stack.end(signal.SIGTERM) == 0


async def test_no_secret_is_in_the_environment_of_a_child(
    external: Callable[..., Running], superuser_url: str, amqp_url: str
) -> None:
    stack = external()
    await stack.start()
    secrets = [superuser_url, amqp_url]
    secrets += [path.read_text().strip() for path in (stack.data / "secrets").iterdir()]
    for name in SERVICES:
        environment = stack.environment(name)
        assert [secret for secret in secrets if secret and secret in environment] == []
    assert await stack.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("what", ["DICOM", "commitment"])
async def test_a_busy_port_is_named_before_anything_starts(
    engine_directory: Path, what: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = Settings(
            engine_directory / "data",
            dicom_port=port if what == "DICOM" else free_port(),
            http_port=free_port(),
            commitment_port=port if what == "commitment" else 0,
        )
        with pytest.raises(PortBusyError, match=f"{what} port {port} .* --{what.lower()}-port"):
            await Stack(settings, SteadyConsole(quiet=True)).run()
    assert not (engine_directory / "data" / "postgres").exists()


def test_nobody_is_kept_from_starting_by_a_port_that_was_not_asked_for(
    engine_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr("darkroom_local.stack.stack.COMMITMENT_PORT", taken.getsockname()[1])
        chosen = set()
        for _ in range(2):
            settings = Settings(
                engine_directory / "data", dicom_port=free_port(), http_port=free_port()
            )
            stack = Stack(settings, SteadyConsole(quiet=True))
            stack.layout.make()
            stack._check_ports()
            chosen.add(stack.settings.commitment_port)
    assert len(chosen) == 1  # the same each time, while it is free
    assert chosen.isdisjoint({None, 0, taken})


async def test_a_database_login_that_may_not_is_told(
    engine_directory: Path, superuser_url: str, amqp_url: str
) -> None:
    database = urlsplit(superuser_url)
    role = f"weak_{database.path[6:]}"
    await in_database(superuser_url, f"CREATE ROLE {role} LOGIN PASSWORD 'weak'")
    weak = database._replace(netloc=f"{role}:weak@{database.hostname}:{database.port}").geturl()
    urls = {"DARKROOM_POSTGRES_URL": weak, "DARKROOM_AMQP_URL": amqp_url}
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "darkroom_local", "up", "--data", str(engine_directory / "data")],
        *["--dicom-port", str(free_port()), "--http-port", str(free_port())],
        *["--commitment-port", "0"],
        env={**os.environ, **urls},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    _, said = await process.communicate()
    await in_database(superuser_url, f"DROP ROLE {role}")
    assert process.returncode == 1
    assert "DARKROOM_POSTGRES_URL must name a role that may create" in said.decode()
    assert "weak@" not in said.decode()


async def in_database(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()
