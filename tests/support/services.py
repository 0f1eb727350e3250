"""Real services as processes, on the engines of the test run: to send to, to kill, to restart."""

import asyncio
import base64
import json
import os
import secrets
import signal
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import aio_pika

from darkroom_common.amqp.permissions import USERS
from darkroom_common.amqp.rabbitmq import declare
from darkroom_common.postgres.bootstrap import ROLES, bootstrap
from darkroom_common.postgres.migrate import migrate
from darkroom_common.topology import METADATA_INDEX
from darkroom_ingest.door.nursery import RECEIVING
from darkroom_local.engines.ports import LOOPBACK, free_port
from tests.support.forked import Forked, fork, same_start
from tests.support.shared_engine import USER_PASSWORD
from tests.support.templates import copied

ROLE_PASSWORD = "test-only"
WITH_SCHEMA = {
    "ingest": "ingest",
    "metadata": "index",
    "transmit": "transmit",
    "print": "print",
    "api": "api",
    "licensing": "licensing",
}
READY_LIMIT = 90.0
_MEASURED = "COVERAGE_PROCESS_CONFIG" in os.environ  # by `make coverage`


def receiving_processes(pid: int) -> list[int]:
    """Return the processes below the main process of ingest that receive."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    found = [int(one) for one in children if is_receiving(Path("/proc", one))]
    return found + [more for one in children for more in receiving_processes(int(one))]


def is_receiving(process: Path) -> bool:
    """Say whether a directory of /proc is of a receiving process."""
    return process.joinpath("comm").read_text().strip() == RECEIVING


def _key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def role_url(superuser_url: str, role: str) -> str:
    """The URL of one of Darkroom's roles in the database of `superuser_url`."""
    parts = urlsplit(superuser_url)
    return parts._replace(netloc=f"{role}:{ROLE_PASSWORD}@{parts.hostname}:{parts.port}").geturl()


def own_url(amqp_url: str, name: str) -> str:
    """The URL of a service's own user, where the broker is the shared one, which has them."""
    parts = urlsplit(amqp_url)
    if not parts.path.startswith("/test-"):
        return amqp_url
    login = f"{USERS[name]}:{USER_PASSWORD}"
    return parts._replace(netloc=f"{login}@{parts.hostname}:{parts.port}").geturl()


async def prepare_database(superuser_url: str, *names: str) -> None:
    """Bootstrap a database and migrate the schemas of the given services."""

    async def make(url: str) -> None:
        await bootstrap(url, dict.fromkeys(ROLES, ROLE_PASSWORD))
        owner = role_url(url, "darkroom_migrate")
        for name in names:
            await migrate(owner, schema=WITH_SCHEMA[name], package=f"darkroom_{name}")

    if not await copied(superuser_url, "_".join(("template", *names)), make):
        await make(superuser_url)


async def declare_index_queue(amqp_url: str) -> None:
    """Make the queue that the index consumes, for tests that run ingest without the index."""
    async with await aio_pika.connect(amqp_url) as connection:
        await declare(await connection.channel(), METADATA_INDEX)


@dataclass
class ServiceProcess:
    """One service; its output goes to a file."""

    name: str
    environment: dict[str, str]
    log: Path
    health_port: int
    process: asyncio.subprocess.Process | Forked | None = None

    async def start(self) -> None:
        if same_start(self.environment):
            self.process = fork(f"darkroom_{self.name}", self.environment, self.log)
            return
        with self.log.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                f"darkroom_{self.name}",
                env=self.environment,
                stdout=output,
                stderr=output,
            )

    def probe(self, path: str) -> tuple[int, str]:
        try:
            url = f"http://{LOOPBACK}:{self.health_port}{path}"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    async def ready(self) -> None:
        async with asyncio.timeout(READY_LIMIT):
            while (await asyncio.to_thread(self.probe, "/readyz"))[0] != 200:
                if self.process is not None and self.process.returncode is not None:
                    raise AssertionError(f"{self.name} ended:\n{self.log.read_text()[-3000:]}")
                await asyncio.sleep(0.1)

    async def kill(self) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def stop(self, limit: float = 60.0) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(limit):
            return await self.process.wait()


@dataclass
class Services:
    """Some of the six services on one database, one virtual host and one directory."""

    directory: Path
    superuser_url: str
    amqp_url: str
    extra: dict[str, str] = field(default_factory=dict)
    running: dict[str, ServiceProcess] = field(default_factory=dict)
    dicom_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    stow_port: int = field(default_factory=free_port)
    admin_password: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    def __post_init__(self) -> None:
        self.secrets = {
            "PHI_KEYS": json.dumps({"current": 1, "keys": {"1": _key()}}),
            "BLIND_INDEX_KEY": _key(),
            "PSEUDONYM_KEY": _key(),
            "JWT_KEY": _key(),
            "AUDIT_KEYS": json.dumps({"current": 1, "keys": {"1": _key()}}),
        }

    @property
    def store(self) -> Path:
        return self.directory / "objects"

    @property
    def spool(self) -> Path:
        return self.directory / "spool"

    def environment(self, name: str, health_port: int) -> dict[str, str]:
        given = {
            "POSTGRES_URL": role_url(self.superuser_url, f"darkroom_{name}"),
            "AMQP_URL": own_url(self.amqp_url, name),
            "HEALTH_PORT": str(health_port),
            "STORE_URL": self.store.as_uri(),
            "SPOOL": str(self.spool),
            "SCRATCH": str(self.directory / f"scratch-{name}"),
            "DICOM_HOST": LOOPBACK,
            "DICOM_PORT": str(self.dicom_port),
            "STOW_HOST": LOOPBACK,
            "STOW_PORT": str(self.stow_port),
            "INGEST_STOW_PORT": str(self.stow_port),
            "HTTP_HOST": LOOPBACK,
            "HTTP_PORT": str(self.http_port),
            "ADMIN_PASSWORD": self.admin_password,
            "RESERVE_BYTES": "0",
            "UNKNOWN_AE": "accept",
            "QUIET_SECONDS": "1",
            "LOG_LEVEL": "DEBUG",
            "LIMIT_DEFAULT": "1000000/hour",
            "LIMIT_ANONYMOUS": "1000000/hour",
            "LIMIT_LOGIN": "1000000/hour",
            **self.secrets,
            **self.extra,
        }
        kept = {k: v for k, v in os.environ.items() if not k.startswith("DARKROOM_")}
        return kept | {f"DARKROOM_{k}": v for k, v in given.items()}

    async def begin(self, name: str) -> ServiceProcess:
        """Start a service without waiting until it is ready."""
        port = free_port()
        log = self.directory / f"{name}.log"
        service = ServiceProcess(name, self.environment(name, port), log, port)
        self.running[name] = service
        await service.start()
        return service

    async def start(self, *names: str) -> None:
        for name in names:
            await self.begin(name)
        for name in names:
            await self.running[name].ready()

    async def stop(self) -> None:
        for service in self.running.values():
            if _MEASURED and service.process is not None:
                with suppress(TimeoutError):
                    await service.stop()  # what is killed says nothing of the lines it has reached
            await service.kill()
