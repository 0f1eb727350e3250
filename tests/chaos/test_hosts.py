"""Several hosts: nodes are killed and hosts cut off while senders are at work (F7, F8)."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chaos.hospital import AWAY, Hospital, Sender, refusal
from tests.chaos.hosts import SENDER, SITES
from tests.chaos.report import Report, Row
from tests.support.waiting import lasting, until

pytestmark = pytest.mark.timeout(1500)


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
