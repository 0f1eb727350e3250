"""F3: `kill -9` of transmit at each named point, `DARKROOM_CHAOS_ROUNDS` times each.

The oracle is the destination: what it has got, byte by byte, against what was stored.
"""

import time

import pytest

from darkroom_local.engines.ports import LOOPBACK, free_port
from tests.chaos.conftest import ROUNDS
from tests.chaos.killing import Killer
from tests.chaos.report import Report, Row
from tests.chaos.transmit_rounds import ASK_POINTS, REPORT_POINTS, STORE_POINTS, Rounds, prepare
from tests.integration.transmit.desk import open_desk
from tests.integration.transmit.keeper import Keeper, commitment, keeping
from tests.support.scripted_peer import ScriptedPeer
from tests.support.services import Services


@pytest.mark.timeout(3600)
@pytest.mark.req("TRX-02")
@pytest.mark.parametrize("point", STORE_POINTS)
async def test_killed_while_it_sends_every_instance_arrives(
    services: Services, monkeypatch: pytest.MonkeyPatch, report: Report, point: str
) -> None:
    killer = Killer.prepare(services, monkeypatch)
    began = time.monotonic()
    with ScriptedPeer() as peer:
        async with open_desk(services) as desk:
            prepare(services)
            await services.start("transmit")
            await desk.destination("PACS", peer.port)
            rounds = Rounds(
                desk,
                killer,
                "PACS",
                lambda: [(one.sop_instance_uid, one.sha256) for one in peer.stored],
            )
            for _ in range(ROUNDS):
                await rounds.store(point)
    seconds = time.monotonic() - began
    seen = f"all SENT; {rounds.twice} came twice, with the same bytes; {seconds:.0f} s"
    report.add(Row("F3", f"kill -9 {point}", ROUNDS, rounds.instances, "job rows", seen))


@pytest.mark.timeout(3600)
@pytest.mark.req("TRX-06")
@pytest.mark.parametrize(
    ("point", "way"),
    [
        *((point, "same") for point in (*ASK_POINTS, *REPORT_POINTS)),
        *((point, "new") for point in REPORT_POINTS),
    ],
)
async def test_killed_around_commitment_it_asks_again(
    services: Services, monkeypatch: pytest.MonkeyPatch, report: Report, point: str, way: str
) -> None:
    killer = Killer.prepare(services, monkeypatch)
    began = time.monotonic()
    port = free_port()
    with keeping(Keeper(report=way, report_port=port)) as keeper:
        async with open_desk(services) as desk:
            prepare(services)
            services.extra |= {"COMMITMENT_PORT": str(port), "COMMITMENT_HOST": LOOPBACK}
            await services.start("transmit")
            await desk.destination("PACS", keeper.port, **commitment())
            rounds = Rounds(desk, killer, "PACS", lambda: list(keeper.arrived))
            for _ in range(ROUNDS):
                await rounds.commit(point, keeper)
    seconds = time.monotonic() - began
    seen = f"all COMMITTED; asked {len(keeper.asked)} times, none sent twice; {seconds:.0f} s"
    what = f"kill -9 {point}" + (", report on its own association" if way == "new" else "")
    report.add(Row("F3", what, ROUNDS, rounds.instances, "job rows", seen))
