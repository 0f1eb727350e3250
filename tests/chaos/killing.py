"""Senders with a ledger, and processes that are killed at named points (F1 to F4)."""

import asyncio
import hashlib
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.integration.test_pipeline import counted, rows
from tests.support.builders import a_data_set, encode
from tests.support.dicom_peer import Rejected, send
from tests.support.services import Services
from tests.support.waiting import lasting, until

CONGESTION = (2, 3, 1)
POINTS = Path(__file__).parent / "points"
WORKER_POINTS = (
    "after-begin",
    "mid-write",
    "before-fsync",
    "after-fsync",
    "after-rename",
    "before-directory-fsync",
    "after-directory-fsync",
    "before-report",
    "before-answer",
    "after-answer",
)
RELAY_POINTS = (
    "relay-after-put",
    "relay-after-publish",
    "relay-before-remove",
    "relay-after-remove",
)

INDEX_POINTS = ("index-before-commit", "index-before-acknowledge")


@dataclass
class Ledger:
    """What a site of senders has sent, and what it was answered: the oracle."""

    port: int
    pause: float = 0.01
    answered: dict[str, str] = field(default_factory=dict)
    """UID to digest of what was answered with 0x0000."""
    statuses: set[int] = field(default_factory=set)
    seconds: list[float] = field(default_factory=list)
    """How long batches of five took."""
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def sender(self) -> None:
        """Send new objects until stopped, and again what was not answered with success."""
        while not self._stop.is_set():
            left = {
                str(one.SOPInstanceUID): encode(one)
                for one in (a_data_set(PixelData=bytes(40_000)) for _ in range(5))
            }
            while left:
                began = time.monotonic()
                answers = await asyncio.to_thread(_try, self.port, list(left.items()))
                if answers and all(status == 0 for status in answers.values()):
                    self.seconds.append(time.monotonic() - began)
                for uid, status in answers.items():
                    if status is not None:
                        self.statuses.add(status)
                    if status == 0:
                        self.answered[uid] = hashlib.sha256(left.pop(uid)).hexdigest()
                await lasting(self.pause if not left else 0.1)

    async def grows(self, beyond: int) -> None:
        """Return when more than so many objects were answered: what is killed next has work."""
        await until(lambda: len(self.answered) > beyond, limit=60)

    def stop(self) -> None:
        """Have the senders end when all of theirs is answered with success."""
        self._stop.set()

    async def during(self, fault: Callable[[], Awaitable[None]], senders: int = 3) -> None:
        """Send while a fault happens, and until all is answered."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(senders):
                tasks.create_task(self.sender())
            try:
                await fault()
            finally:
                self.stop()
        self._stop.clear()


def _try(port: int, objects: list[tuple[str, bytes]]) -> dict[str, int | None]:
    """Send; being turned away for now is no answer."""
    try:
        return send(port, objects)
    except Rejected as rejected:
        assert rejected.answer == CONGESTION
        return {}


async def check(services: Services, answered: dict[str, str], limit: float = 120) -> None:
    """Compare the ledger (UID to digest) with index and store: lost 0, duplicated 0."""
    await counted(services, "SELECT count(*) FROM index.instance", len(answered), limit=limit)
    found = await rows(
        services, "SELECT sop_instance_uid, object_key, data_set_offset FROM index.instance"
    )
    assert {row["sop_instance_uid"] for row in found} == set(answered)
    for row in found:
        stored = (services.store / row["object_key"]).read_bytes()[row["data_set_offset"] :]
        assert hashlib.sha256(stored).hexdigest() == answered[row["sop_instance_uid"]]
    assert len(list(services.store.rglob("*.dcm"))) == len(answered)
    await until(lambda: not list((services.spool / "ready").iterdir()), limit=30)


@dataclass
class Killer:
    """Kills services at points, while they are at work."""

    services: Services
    plan: Path

    @classmethod
    def prepare(cls, services: Services, patch: pytest.MonkeyPatch) -> "Killer":
        """Have the services that are started from now on be killable."""
        plan = services.directory / "plan"
        patch.setenv("PYTHONPATH", str(POINTS), prepend=os.pathsep)
        patch.setenv("CHAOS_PLAN", str(plan))
        return cls(services, plan)

    def arrange(self, point: str) -> None:
        """Have the next process that passes a point die there; `point:3`: the third time."""
        self.plan.with_name("plan.done").unlink(missing_ok=True)
        written = self.plan.with_name("plan.new")
        written.write_text(point, encoding="ascii")
        written.replace(self.plan)

    async def died(self, service: str) -> None:
        """Return when the process of a service has died as planned."""
        process = self.services.running[service].process
        assert process is not None
        async with asyncio.timeout(60):
            assert await process.wait() == -signal.SIGKILL
        assert self.plan.with_name("plan.done").exists()

    async def kill(self, point: str) -> None:
        """Have the next process that passes a point die there; return when all is up again."""
        self.arrange(point)
        done = self.plan.with_name("plan.done")
        await until(done.exists, limit=60)
        if point not in WORKER_POINTS:
            name = "metadata" if point in INDEX_POINTS else "ingest"
            await self.died(name)
            await self.services.running[name].start()
            await self.services.running[name].ready()

    async def kill_often(self, point: str, rounds: int, ledger: Ledger) -> None:
        """Kill at a point so many times, each time when objects have been answered since."""
        for _ in range(rounds):
            answered = len(ledger.answered)
            await self.kill(point)
            await ledger.grows(answered)
