"""`kill -9` of transmit at each named point, once; `make chaos` does it many times (F3)."""

import pytest

from darkroom_local.engines.ports import LOOPBACK, free_port
from tests.chaos.killing import Killer
from tests.chaos.transmit_rounds import ASK_POINTS, REPORT_POINTS, STORE_POINTS, Rounds, prepare
from tests.integration.transmit.desk import open_desk
from tests.integration.transmit.keeper import Keeper, commitment, keeping
from tests.support.scripted_peer import ScriptedPeer
from tests.support.services import Services


@pytest.mark.timeout(300)
@pytest.mark.req("TRX-02")
async def test_killed_while_it_sends_every_instance_arrives(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    killer = Killer.prepare(services, monkeypatch)
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
            for point in STORE_POINTS:
                await rounds.store(point)


@pytest.mark.timeout(300)
@pytest.mark.req("TRX-02", "TRX-06")
@pytest.mark.parametrize(
    ("report", "points"),
    [
        ("same", (*ASK_POINTS, *REPORT_POINTS)),
        ("new", ("report-before-settling", "report-before-answer")),
    ],
    ids=["same-association", "own-association"],
)
async def test_killed_around_commitment_it_asks_again(
    services: Services, monkeypatch: pytest.MonkeyPatch, report: str, points: tuple[str, ...]
) -> None:
    killer = Killer.prepare(services, monkeypatch)
    port = free_port()
    with keeping(Keeper(report=report, report_port=port)) as keeper:
        async with open_desk(services) as desk:
            prepare(services)
            services.extra |= {"COMMITMENT_PORT": str(port), "COMMITMENT_HOST": LOOPBACK}
            await services.start("transmit")
            await desk.destination("PACS", keeper.port, **commitment())
            rounds = Rounds(desk, killer, "PACS", lambda: list(keeper.arrived))
            for point in points:
                await rounds.commit(point, keeper)
