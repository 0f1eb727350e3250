"""F10 and F11: bad destinations and bad networks beside good ones."""

import asyncio
import statistics
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from darkroom_local.engines.ports import free_port
from tests.chaos.proxy import proxy_to
from tests.chaos.report import Report, Row
from tests.integration.transmit.desk import Desk, open_desk
from tests.support.scripted_peer import Script, ScriptedPeer
from tests.support.services import Services
from tests.support.waiting import lasting

GOOD = 7
OBJECTS = 320


def _has_sent(enough: int, row: Mapping[str, Any]) -> bool:
    return bool(row["sent"] >= enough)


@pytest.fixture
async def desk(services: Services) -> AsyncIterator[Desk]:
    async with open_desk(services) as made:
        await services.start("transmit")
        yield made


async def rate(desk: Desk, names: list[str]) -> float:
    """Send a study to each of them at once; return the objects a second of one, on average."""
    studies = [await desk.study(OBJECTS) for _ in names]
    jobs = [await desk.send(name, study) for name, study in zip(names, studies, strict=True)]
    done = await asyncio.gather(*(desk.until(job, "SENT") for job in jobs))
    took = [(one["finished_at"] - one["created_at"]).total_seconds() for one in done]
    return float(statistics.mean(OBJECTS / seconds for seconds in took))


@pytest.mark.req("TRX-08")
async def test_seven_of_ten_keep_their_rate(desk: Desk, report: Report) -> None:
    """One is dead, one slow, one rejects. The good ones are paced, so that cores do not decide."""
    with ExitStack() as stack:
        good = [stack.enter_context(ScriptedPeer(Script(delay=0.15))) for _ in range(GOOD)]
        slow = stack.enter_context(ScriptedPeer(Script(delay=3)))
        rejecting = stack.enter_context(ScriptedPeer(Script(reject=(2, 3, 2))))
        silent = stack.enter_context(ScriptedPeer(Script(silent=True)))
        names = [f"GOOD{number}" for number in range(GOOD)]
        for name, peer in zip(names, good, strict=True):
            await desk.destination(name, peer.port)
        await rate(desk, names)  # associations are open from now on, in both measurements
        alone = await rate(desk, names)
        bad = {
            "DEAD": free_port(),
            "SLOW": slow.port,
            "REJECTING": rejecting.port,
            "SILENT": silent.port,
        }
        for name, port in bad.items():
            await desk.destination(name, port)
            for _ in range(5):
                await desk.send(name, await desk.study(20))
        await lasting(2)
        beside = await rate(desk, names)
        states = {
            row["destination"]: row["breaker"]
            for row in await desk.prepared.fetch(
                "SELECT name AS destination, breaker FROM transmit.destination"
            )
        }
        lost = await desk.prepared.fetch(
            "SELECT id FROM transmit.job WHERE destination = ANY($1::text[])"
            " AND state NOT IN ('PENDING', 'SENDING', 'RETRYING')",
            list(bad),
        )
    assert lost == []
    assert {states["DEAD"], states["REJECTING"]} <= {"open", "half-open"}
    assert beside >= 0.9 * alone
    report.add(
        Row(
            "F10",
            "a dead, a slow, a silent and a rejecting destination beside seven good ones",
            1,
            GOOD * OBJECTS,
            "breaker, faults by reason",
            f"the good ones keep {beside / alone:.0%} of their rate",
        )
    )


@pytest.mark.parametrize("fault", ["slow", "cut", "reset", "drip"])
async def test_a_bad_network_delays_and_loses_nothing(
    desk: Desk, report: Report, fault: str
) -> None:
    count = 20 if fault != "drip" else 3
    study = await desk.study(count, size=200_000 if fault in ("cut", "reset") else 2000)
    with ScriptedPeer(Script(delay=0.05)) as peer:
        async with proxy_to(peer.port) as proxy:
            proxy.delay = 0.3 if fault == "slow" else 0.0
            proxy.piece = 1 if fault == "drip" else 65536
            await desk.destination("FAR", proxy.port, max_associations=2)
            job_id = await desk.send("FAR", study)
            if fault in ("cut", "reset"):
                for enough in (3, 9):
                    some = partial(_has_sent, enough)
                    await desk.until(job_id, "SENDING", "RETRYING", where=some)
                    proxy.cut(reset=fault == "reset")
            await desk.until(job_id, "SENT")
    assert {one.sop_instance_uid: one.sha256 for one in peer.stored} == study.digests
    twice = len(peer.stored) - count
    assert twice <= 4  # what was under way at a cut
    what = {
        "slow": "300 ms each way",
        "cut": "connections cut",
        "reset": "connections reset",
        "drip": "one byte at a time",
    }[fault]
    report.add(Row("F11", f"transmit to a destination: {what}", 1, count, "job rows", ""))
