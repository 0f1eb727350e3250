"""Several hosts: nodes are killed and hosts cut off while senders are at work (F7, F8)."""

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from darkroom_common.postgres.bootstrap import ROLES, bootstrap
from darkroom_common.postgres.migrate import migrate
from darkroom_common.settings import EVERY_INTERFACE
from darkroom_local.engines.process import Child, reclaim
from tests.chaos.hosts import BROKERS, SENDER, SITES, Brokers, Databases, Network, address
from tests.chaos.report import Report, Row
from tests.support.builders import CT, new_uid
from tests.support.dicom_peer import Association, Rejected
from tests.support.services import ROLE_PASSWORD, WITH_SCHEMA, Services
from tests.support.steady_load import Objects
from tests.support.waiting import lasting, until

SERVICES: Final = ("ingest", "metadata", "transmit", "print")
AWAY: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)
RATE: Final = 20.0
LIMIT: Final = 120.0
pytestmark = pytest.mark.timeout(1500)


@dataclass
class Hospital:
    """All of it, running."""

    directory: Path
    network: Network = field(default_factory=Network)
    services: dict[tuple[str, str], Child] = field(default_factory=dict)

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
            for number in range(len(SERVICES)):
                await until(partial(self._ready, site, number), "ready", limit=LIMIT)

    async def _start_databases(self) -> None:
        await self.databases.start()
        await self.network.fetch("CREATE DATABASE darkroom", self.databases.url())

        async def make() -> None:
            await bootstrap(self.url, dict.fromkeys(ROLES, ROLE_PASSWORD))
            owner = self.databases.url("darkroom_migrate", ROLE_PASSWORD, "darkroom")
            for name, schema in WITH_SCHEMA.items():
                await migrate(owner, schema=schema, package=f"darkroom_{name}")

        await self.network.at(SENDER, lambda: asyncio.run(make()))

    async def _start(self, site: str, name: str, port: int) -> None:
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
        words = [sys.executable, "-m", f"darkroom_{name}"]
        environment = self._settings.environment(name, port)
        command = self.network.command(site, name, words, directory=here, environment=environment)
        self.services[site, name] = await Child.start(command)

    async def _ready(self, site: str, number: int) -> bool:
        def ask() -> bool:
            try:
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{9090 + number}/readyz", timeout=5
                ) as answer:
                    return bool(answer.status == 200)
            except (OSError, urllib.error.HTTPError):
                return False

        child = self.services[site, SERVICES[number]]
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
    """A modality that knows both sites, and sends again what was not answered with success."""

    study: str = field(default_factory=new_uid)
    stored: set[str] = field(default_factory=set)
    failures: int = 0
    slowest: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        objects, turn = Objects(self.study), 0
        left: dict[str, bytes] = {}
        while not self.stop.is_set() or left:
            while len(left) < 5 and not self.stop.is_set():
                uid, data_set = objects.next()
                left[uid] = data_set
            site, turn = SITES[turn % 2], turn + 1
            began = time.monotonic()
            try:
                with Association(
                    11112, {1: (CT, "1.2.840.10008.1.2.1")}, host=address(site), timeout=5
                ) as association:
                    for uid in [*left]:
                        if association.store(1, CT, uid, left[uid]) == 0:
                            del left[uid]
                            self.stored.add(uid)
            except (OSError, Rejected):
                self.failures += 1
            took = time.monotonic() - began
            self.slowest = max(self.slowest, took)
            self.stop.wait(max(0.0, 5 / RATE - took))


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


@pytest.fixture
async def hospital() -> AsyncIterator[Hospital]:
    why = refusal()
    if why:
        pytest.skip(f"no hosts can be made here: {why}")
    directory = Path(tempfile.mkdtemp(prefix="darkroom-hosts-"))
    directory.chmod(0o755)
    made = Hospital(directory)
    try:
        await made.start()
        yield made
    finally:
        await made.stop()
        shutil.rmtree(directory)


@pytest.mark.req("ING-03")
async def test_nothing_is_lost_or_doubled_whichever_host_goes(
    hospital: Hospital, report: Report
) -> None:
    network, brokers = hospital.network, hospital.brokers
    sender = Sender()
    sending = asyncio.create_task(network.at(SENDER, sender.run))
    times = [await hospital.goes_on("first in the index")]
    try:
        first = await brokers.leader("metadata.index")
        await brokers.kill(first)
        times.append(await hospital.goes_on("leader killed"))
        await brokers.start(first)
        second = await brokers.leader("metadata.index")
        network.cut_off(second)
        times.append(await hospital.goes_on("host of the leader cut off"))
        await lasting(15)
        network.join(second)
        times.append(await hospital.goes_on("it is back"))
        network.cut_off(SITES[0])
        times.append(await hospital.goes_on("site cut off"))
        await lasting(10)
        network.join(SITES[0])
        times.append(await hospital.goes_on("it is back"))
        await hospital.databases.fail_over()
        times.append(await hospital.goes_on("primary killed, standby promoted"))
    finally:
        sender.stop.set()
        await sending
    sql = "SELECT sop_instance_uid FROM index.instance"

    async def all_indexed() -> bool:
        return sender.stored <= {row[0] for row in await network.fetch(sql, hospital.url)}

    began = time.monotonic()
    await until(all_indexed, "all is indexed", limit=180, retry=AWAY, poll=1)
    times.append(f"all in the index after {time.monotonic() - began:.0f} s")
    found = [row[0] for row in await network.fetch(sql, hospital.url)]
    assert len(found) == len(set(found))
    assert len(list((hospital.directory / "objects").rglob("*.dcm"))) == len(found)
    assert [name for name, one in hospital.services.items() if not one.running] == []
    report.add(
        Row(
            "F7, F8",
            "hosts in namespaces: two sites, three brokers, primary and standby",
            1,
            len(sender.stored),
            "",
            "; ".join([*times, f"{sender.failures} associations failed and were repeated"]),
        )
    )
