"""A hospital on several hosts: its services at two sites, and a modality that knows both."""

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import asyncpg

from darkroom_common.postgres.bootstrap import ROLES, bootstrap
from darkroom_common.postgres.migrate import migrate
from darkroom_common.settings import EVERY_INTERFACE
from darkroom_local.engines.process import Child, reclaim
from tests.chaos.hosts import BROKERS, SENDER, SITES, Brokers, Databases, Network, address
from tests.support.builders import CT, new_uid
from tests.support.dicom_peer import Association, Rejected
from tests.support.services import ROLE_PASSWORD, WITH_SCHEMA, Services
from tests.support.steady_load import Objects
from tests.support.waiting import until

SERVICES: Final = ("ingest", "metadata", "transmit", "print")
AWAY: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)
RATE: Final = 20.0
LIMIT: Final = 120.0
_MIGRATE: Final = """
import asyncio, os, sys
from darkroom_common.postgres.migrate import migrate
_, schema, package, phase = (*sys.argv, "all")[:4]
url = os.environ["DARKROOM_MIGRATION_URL"]
asyncio.run(migrate(url, schema=schema, package=package, phase=phase))
"""
"""What the command `migrate` does; releases had it for transmit that did something else."""


@dataclass
class Hospital:
    """All of it, running.

    Attributes:
        python: of the release that is installed at first; None: this one.
        offered: the sites that senders are led to, as by a balancer.
    """

    directory: Path
    python: Path | None = None
    offered: list[str] = field(default_factory=lambda: [*SITES])
    network: Network = field(default_factory=Network)
    services: dict[tuple[str, str], Child] = field(default_factory=dict)
    ports: dict[tuple[str, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.brokers = Brokers(self.network, self.directory / "brokers")
        self.databases = Databases(self.network, self.directory / "databases")
        self.url = self.databases.url(name="darkroom")
        self._settings = Services(self.directory, "", "")

    async def start(self) -> None:
        self.network.make()
        (self.directory / "brokers").mkdir(mode=0o755)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.brokers.start(*BROKERS))
            tasks.create_task(self._start_databases())
        for site in SITES:
            for number, name in enumerate(SERVICES):
                await self._start(site, name, 9090 + number)
        for site in SITES:
            for name in SERVICES:
                await until(partial(self._ready, site, name), "ready", limit=LIMIT)

    async def _start_databases(self) -> None:
        await self.databases.start()
        await self.network.fetch("CREATE DATABASE darkroom", self.databases.url())

        async def make() -> None:
            await bootstrap(self.url, dict.fromkeys(ROLES, ROLE_PASSWORD))
            owner = self._owner()
            for name, schema in WITH_SCHEMA.items():
                await migrate(owner, schema=schema, package=f"darkroom_{name}")

        if self.python is None:
            await self.network.at(SENDER, lambda: asyncio.run(make()))
        else:
            await self.migrate(self.python)

    def _owner(self) -> str:
        return self.databases.url("darkroom_migrate", ROLE_PASSWORD, "darkroom")

    async def migrate(self, python: Path, *words: str) -> None:
        """Have a release bring roles, schemas and its migrations, as its installer does."""
        passwords = json.dumps(dict.fromkeys(ROLES, ROLE_PASSWORD))
        told = {"SUPERUSER_URL": self.url, "ROLE_PASSWORDS": passwords}
        await self._command(python, ["-m", "darkroom_common.postgres.bootstrap"], told)
        for name, schema in WITH_SCHEMA.items():
            told = {"MIGRATION_URL": self._owner()}
            await self._command(python, ["-c", _MIGRATE, schema, f"darkroom_{name}", *words], told)

    async def _command(self, python: Path, words: list[str], told: dict[str, str]) -> None:
        command = self.network.command(
            SENDER,
            "prepare",
            [str(python), *words],
            directory=self.directory,
            environment={f"DARKROOM_{name}": value for name, value in told.items()},
        )
        child = await Child.start(command)
        assert await child.wait() == 0, child.failure("failed")

    async def replace(self, site: str, name: str, python: Path) -> float:
        """Put a process of another release in the place of one; return how long that took, in s.

        As in Kubernetes: a worker's new process is ready before the old one is told to stop. Ingest
        leaves the balancer, keeps who is with it, and its spool is the new one's.
        """
        began = time.monotonic()
        old, number = self.services[site, name], SERVICES.index(name)
        if name == "ingest":
            self.offered.remove(site)
            old.send(signal.SIGUSR2)
            assert await old.wait() == 0, old.failure("ended")
        port = 9090 + number if name == "ingest" else self._other_port(site, name)
        await self._start(site, name, port, python)
        await until(partial(self._ready, site, name), "ready", limit=LIMIT)
        if name == "ingest":
            self.offered.append(site)
        else:
            old.send(signal.SIGTERM)
            assert await old.wait() == 0, old.failure("ended")
        return time.monotonic() - began

    def _other_port(self, site: str, name: str) -> int:
        first = 9090 + SERVICES.index(name)
        return first + 100 if self.ports[site, name] == first else first

    async def die(self, site: str) -> None:
        """End everything of a site at once, as when its power fails."""
        for name in SERVICES:
            self.services[site, name].send(signal.SIGKILL)
        for name in SERVICES:
            await self.services[site, name].wait()

    async def come_back(self, site: str, python: Path) -> None:
        """Start a site that has died, with a release."""
        for number, name in enumerate(SERVICES):
            await self._start(site, name, 9090 + number, python)
        for name in SERVICES:
            await until(partial(self._ready, site, name), "ready", limit=LIMIT)

    async def _start(self, site: str, name: str, port: int, python: Path | None = None) -> None:
        here = self.directory / site
        here.mkdir(exist_ok=True)
        self._settings.extra = {
            "POSTGRES_URL": self.databases.url(f"darkroom_{name}", ROLE_PASSWORD, "darkroom"),
            "AMQP_URL": self.brokers.url(name),
            "SPOOL": str(here / "spool"),
            "SCRATCH": str(here / f"scratch-{name}"),
            "DICOM_HOST": EVERY_INTERFACE,
            "DICOM_PORT": "11112",
            "REPLICA": site,
            "LOG_LEVEL": "INFO",
            "PROCESSES": "1",
        }
        words = [str(python or self.python or sys.executable), "-m", f"darkroom_{name}"]
        self.ports[site, name] = port
        environment = self._settings.environment(name, port)
        command = self.network.command(site, name, words, directory=here, environment=environment)
        self.services[site, name] = await Child.start(command)

    async def _ready(self, site: str, name: str) -> bool:
        url = f"http://127.0.0.1:{self.ports[site, name]}/readyz"

        def ask() -> bool:
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    return bool(answer.status == 200)
            except (OSError, urllib.error.HTTPError):
                return False

        child = self.services[site, name]
        assert child.running, child.failure("ended")
        return await self.network.at(site, ask)

    async def indexed(self) -> int:
        sql = "SELECT count(*)::integer FROM index.instance"
        return int((await self.network.fetch(sql, self.url))[0][0])

    async def goes_on(self, what: str) -> str:
        """Wait until something new is in the index; say what took how long."""
        began = time.monotonic()
        count = await until(self.indexed, what, limit=LIMIT, retry=AWAY)

        async def more() -> bool:
            return await self.indexed() > count + 5

        await until(more, what, limit=LIMIT, retry=AWAY, poll=0.2)
        return f"{what}: {time.monotonic() - began:.0f} s"

    async def stop(self) -> None:
        for child in self.services.values():
            child.send(signal.SIGKILL)
        for child in self.services.values():
            await child.wait()
        for path in [*self.directory.glob("brokers/*"), *self.directory.iterdir()]:
            await reclaim(path, gently=signal.SIGKILL)
        self.network.remove()


@dataclass
class Sender:
    """A modality that knows both sites, and sends again what was not answered with success.

    Attributes:
        offered: the sites it may call; another list is one that a balancer changes meanwhile.
        rate: objects a second.
        refused: by site and what happened: connections or associations that were not taken.
        broken: by site: associations that ended before their time.
    """

    offered: Sequence[str] = SITES
    rate: float = RATE
    study: str = field(default_factory=new_uid)
    stored: set[str] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def failures(self) -> int:
        return self.refused.total() + self.broken.total()

    def run(self) -> None:
        objects, turn = Objects(self.study), 0
        left: dict[str, bytes] = {}
        due = time.monotonic()
        while not self.stop.is_set() or left:
            while len(left) < 5 and not self.stop.is_set():
                uid, data_set = objects.next()
                left[uid] = data_set
            began, sites = time.monotonic(), [*self.offered]
            self._send(sites[turn % len(sites)], left)
            turn += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
            due = max(
                due + 5 / self.rate, time.monotonic() - 5
            )  # who is late catches up, 5 s at most
            self.stop.wait(max(0.0, due - time.monotonic()))

    def _send(self, site: str, left: dict[str, bytes]) -> None:
        contexts = {1: (CT, "1.2.840.10008.1.2.1")}
        try:
            association = Association(11112, contexts, host=address(site), timeout=5)
        except (OSError, Rejected) as error:
            self.refused[f"{site}: {type(error).__name__}"] += 1
            return
        try:
            with association:
                for uid in [*left]:
                    if association.store(1, CT, uid, left[uid]) == 0:
                        del left[uid]
                        self.stored.add(uid)
        except OSError as error:
            self.broken[f"{site}: {type(error).__name__}"] += 1


def refusal() -> str:
    """Why this machine lets nobody make hosts; empty when it does."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "needs root, and ip of iproute2"
    name = f"dk{secrets.token_hex(3)}"
    done = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True, text=True)
    if done.returncode:
        return f"ip netns add: {done.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return ""
