"""`kill -9` of ingest at each named point of the write path, a few times (F1 of
design/reliability.md; `make chaos` does it a hundred times each).
"""

import pytest

from tests.chaos.killing import RELAY_POINTS, WORKER_POINTS, Killer, Ledger, check
from tests.support.services import Services, prepare_database

ROUNDS = 2


@pytest.mark.req("ING-03")
@pytest.mark.parametrize("points", [WORKER_POINTS, RELAY_POINTS], ids=["receiving", "relay"])
async def test_killed_at_a_point_nothing_is_lost_or_doubled(
    services: Services, monkeypatch: pytest.MonkeyPatch, points: tuple[str, ...]
) -> None:
    killer = Killer.prepare(services, monkeypatch)
    await prepare_database(services.superuser_url, "metadata")
    await services.start("metadata", "ingest")
    ledger = Ledger(services.dicom_port)

    async def fault() -> None:
        for point in points:
            await killer.kill_often(point, ROUNDS, ledger)

    await ledger.during(fault)
    assert ledger.statuses == {0}
    await check(services, ledger.answered)
    log = services.running["ingest"].log.read_text()
    if points is WORKER_POINTS:
        assert log.count('"worker.ended"') >= ROUNDS * len(points)
    else:
        assert '"relay.recovered"' in log
