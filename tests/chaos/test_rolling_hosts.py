"""Upgrade over two releases and back on several hosts, under load, while a host dies (DEP-10)."""

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from tests.chaos.hospital import AWAY, SERVICES, Hospital, Sender, refusal
from tests.chaos.hosts import SENDER, SITES
from tests.chaos.report import Report, Row
from tests.support.releases import OtherRelease, of_commit, steps_back, without_newest_migrations
from tests.support.waiting import lasting, until

RATE: Final = float(os.environ.get("DARKROOM_CHAOS_RATE", "100"))
SENDERS: Final = 4
NOW: Final = Path(sys.executable)
pytestmark = pytest.mark.timeout(1500)


@pytest.fixture
async def installed() -> AsyncIterator[tuple[Hospital, OtherRelease]]:
    """A hospital with the release of two steps ago, and that release."""
    why = refusal()
    if why:
        pytest.skip(f"no hosts can be made here: {why}")
    async with AsyncExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="darkroom-hosts-"))
        stack.callback(shutil.rmtree, directory)
        directory.chmod(0o755)
        commit = steps_back(2)
        below = directory / "release"
        old = of_commit(commit, below) if commit else without_newest_migrations(below)
        made = Hospital(directory, python=old.python)
        stack.push_async_callback(made.stop)
        await made.start()
        yield made, old


async def roll(
    hospital: Hospital, python: Path, half_way: Callable[[], Coroutine[Any, Any, None]]
) -> str:
    """Replace every process of both sites; something happens between them."""
    began, slowest = time.monotonic(), 0.0
    for number, site in enumerate(SITES):
        if number:
            await half_way()
        for name in ("metadata", "transmit", "print", "ingest"):
            slowest = max(slowest, await hospital.replace(site, name, python))
    return f"{time.monotonic() - began:.0f} s, {slowest:.0f} s for one process at most"


@pytest.mark.req("DEP-10")
async def test_two_releases_up_and_back_while_hosts_die(
    installed: tuple[Hospital, OtherRelease], report: Report
) -> None:
    hospital, old = installed
    network, brokers = hospital.network, hospital.brokers
    senders = [Sender(hospital.offered, RATE / SENDERS) for _ in range(SENDERS)]
    began = time.monotonic()
    sending = [asyncio.create_task(network.at(SENDER, sender.run)) for sender in senders]
    dead = ""

    async def a_broker_dies() -> None:
        nonlocal dead
        dead = await brokers.leader("metadata.index")
        await brokers.kill(dead)

    async def a_site_dies() -> None:
        hospital.offered.remove(SITES[1])  # as a balancer does, which is told by its probes
        await hospital.die(SITES[1])
        await lasting(5)
        await hospital.come_back(SITES[1], NOW)
        hospital.offered.append(SITES[1])

    try:
        await hospital.goes_on("first in the index")
        await hospital.migrate(NOW, "pre")
        up = await roll(hospital, NOW, a_broker_dies)
        await hospital.goes_on("all are new, one broker is dead")
        await brokers.start(dead)
        back = await roll(hospital, old.python, a_site_dies)
        await hospital.goes_on("all are old again")
    finally:
        for sender in senders:
            sender.stop.set()
        await asyncio.gather(*sending)
    took = time.monotonic() - began
    stored = set[str]().union(*(sender.stored for sender in senders))
    sql = "SELECT sop_instance_uid FROM index.instance"

    async def all_indexed() -> bool:
        return stored <= {row[0] for row in await network.fetch(sql, hospital.url)}

    began = time.monotonic()
    await until(all_indexed, "all is indexed", limit=300, retry=AWAY, poll=1)
    behind = time.monotonic() - began
    found = [row[0] for row in await network.fetch(sql, hospital.url)]
    assert len(found) == len(set(found))
    assert len(list((hospital.directory / "objects").rglob("*.dcm"))) == len(found)
    assert {name for name in hospital.services if name[1] in SERVICES} == set(hospital.services)
    assert [name for name, one in hospital.services.items() if not one.running] == []
    refused = sum((sender.refused for sender in senders), start=Counter[str]())
    broken = sum((sender.broken for sender in senders), start=Counter[str]())
    print(f"refused {dict(refused)}, broken {dict(broken)}")
    assert {name for name in (*refused, *broken) if not name.startswith(f"{SITES[1]}:")} == set()
    slowest = max(sender.slowest for sender in senders)
    observed = (
        f"{old.what}; up {up}, the host of the queue's leader killed half-way",
        f"back {back}, one site killed half-way",
        f"{len(stored) / took:.0f} objects/s",
        f"refused {refused.total()}, broken off with the site {broken.total()} and sent again",
        f"slowest association {slowest:.1f} s; all in the index after {behind:.0f} s",
    )
    what = "hosts in namespaces: from two steps of the schema ago to this release and back"
    report.add(Row("DEP-10, F7", what, 1, len(stored), "", "; ".join(observed)))
