"""F1 and F2: `kill -9` at each named point, `DARKROOM_CHAOS_ROUNDS` times each."""

import time
from functools import partial

import pytest

from tests.chaos.conftest import ROUNDS
from tests.chaos.killing import INDEX_POINTS, RELAY_POINTS, WORKER_POINTS, Killer, Ledger, check
from tests.chaos.report import Report, Row
from tests.support.services import Services, prepare_database


@pytest.mark.timeout(3600)
@pytest.mark.req("ING-03")
@pytest.mark.parametrize("points", [WORKER_POINTS, RELAY_POINTS], ids=["receiving", "relay"])
async def test_killed_at_each_point_nothing_is_lost_or_doubled(
    services: Services, monkeypatch: pytest.MonkeyPatch, report: Report, points: tuple[str, ...]
) -> None:
    killer = Killer.prepare(services, monkeypatch)
    await prepare_database(services.superuser_url, "metadata")
    await services.start("metadata", "ingest")
    made: list[Row] = []
    total: dict[str, str] = {}
    for point in points:
        ledger = Ledger(services.dicom_port, pause=0.1)
        began = time.monotonic()
        await ledger.during(partial(killer.kill_often, point, ROUNDS, ledger))
        assert ledger.statuses == {0}
        total |= ledger.answered
        await check(services, total)
        seconds = time.monotonic() - began
        told = "`relay.recovered`" if points is RELAY_POINTS else "`worker.ended`"
        made.append(
            Row("F1", f"kill -9 {point}", ROUNDS, len(ledger.answered), told, f"{seconds:.0f} s")
        )
        print(f"\n{made[-1].render()}", flush=True)
    log = services.running["ingest"].log.read_text()
    event = '"worker.ended"' if points is WORKER_POINTS else '"service.started"'
    assert log.count(event) >= ROUNDS * len(points)
    assert '"relay.recovered"' in log
    for row in made:
        report.add(row)


@pytest.mark.timeout(3600)
async def test_the_indexer_killed_around_its_commit_writes_each_row_once(
    services: Services, monkeypatch: pytest.MonkeyPatch, report: Report
) -> None:
    killer = Killer.prepare(services, monkeypatch)
    await prepare_database(services.superuser_url, "metadata")
    await services.start("metadata", "ingest")
    total: dict[str, str] = {}
    rounds = max(1, ROUNDS // 5)
    for point in INDEX_POINTS:
        ledger = Ledger(services.dicom_port, pause=0.1)
        await ledger.during(partial(killer.kill_often, point, rounds, ledger))
        total |= ledger.answered
        await check(services, total)
        objects = len(ledger.answered)
        report.add(Row("F2", f"kill -9 {point}", rounds, objects, "", "one row"))
