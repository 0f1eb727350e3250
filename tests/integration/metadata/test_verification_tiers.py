"""Each of two stores is read back on a schedule of its own, and repaired where it lies (STO-08)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from darkroom_common.messages.events import StoredItem
from darkroom_common.objects.store import FileSystemStore, ObjectStore
from darkroom_common.objects.tiered import TieredStore
from darkroom_common.postgres.outbox import Outbox
from darkroom_metadata.verification.command import Options, run_checks
from darkroom_metadata.verification.judgement import Pace
from darkroom_metadata.verification.ledger import Ledger
from darkroom_metadata.verification.repairing import Repairs
from darkroom_metadata.verification.schedule import Planned, Schedule
from darkroom_metadata.verification.verification import Brake, Contents, Rows
from tests.integration.metadata.test_replication import Replicated, replicated
from tests.integration.metadata.test_verification import Lines, flip

__all__ = ["replicated"]
DAY = timedelta(days=1)
FAST, SLOW = timedelta(days=30), timedelta(days=90)


class Counted(FileSystemStore):
    """A store that says which of its objects were read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.read_back: list[str] = []

    async def stream(self, key: str, **how: Any) -> AsyncIterator[bytes]:
        self.read_back.append(key)
        async for piece in super().stream(key, **how):
            yield piece


@dataclass
class Shelves:
    """An index whose objects lie in two stores, with a replica of all."""

    replicated: Replicated
    slow_root: Path
    fast: Counted = field(init=False)
    slow: Counted = field(init=False)

    def __post_init__(self) -> None:
        self.root = self.replicated.archive.root
        self.fast, self.slow = Counted(self.root), Counted(self.slow_root)
        self.store = TieredStore(self.fast, self.slow)
        self.ledger, self.brake = Ledger(Outbox("index")), Brake(Pace(0))

    async def filled(self, number: int, *, days: int, slow: bool = False) -> list[StoredItem]:
        """Index objects that were last read back so long ago."""
        items = await self.replicated.archive.filled(number)
        await self.replicated.drain()
        await self.rows(
            "UPDATE index.instance SET verified_at = now() - $1 * interval '1 day'"
            " WHERE object_key = ANY($2) RETURNING 1",
            days,
            [one.object_key for one in items],
        )
        for one in items if slow else ():
            (self.root / one.object_key).rename(self.slow_root / one.object_key)
        return items

    async def rows(self, sql: str, *given: object) -> list[Any]:
        return await self.replicated.archive.bench.prepared.fetch(sql, *given)

    def schedule(self, *planned: Planned, store: ObjectStore | None = None) -> Schedule:
        second = FileSystemStore(self.replicated.second)
        of = store or self.store
        repairs = Repairs(of, second, (second,), self.ledger, self.brake)
        database = self.replicated.archive.bench.indexer.database
        return Schedule(database, self.ledger, planned, lambda: False, repairs=repairs)

    def fast_plan(self) -> Planned:
        return Planned(Contents.of(self.store, self.ledger, self.brake), DAY, FAST)

    def slow_plan(self) -> Planned:
        return Planned(Contents.of_slow(self.store, self.ledger, self.brake), DAY, SLOW)

    async def in_slow(self) -> set[str]:
        rows = await self.rows("SELECT object_key FROM index.instance WHERE in_slow")
        return {row[0] for row in rows}

    async def verify(self, **options: Any) -> tuple[int, Lines]:
        lines: Lines = []
        archive = self.replicated.archive
        cold = f"{archive.root.as_uri()} s3://cold/archive?class=GLACIER_IR"
        settings = archive.settings().model_copy(update={"store_url": cold})
        database = archive.bench.indexer.database
        code = await run_checks(database, self.store, settings, Options(**options), lines.append)
        return code, lines


@pytest.fixture
async def shelves(replicated: Replicated, tmp_path: Path) -> Shelves:
    (tmp_path / "slow").mkdir()
    return Shelves(replicated, tmp_path / "slow")


def keys(items: list[StoredItem]) -> set[str]:
    return {one.object_key for one in items}


@pytest.mark.req("STO-08")
async def test_each_tier_is_read_back_on_its_own_schedule_and_repaired_where_it_lies(
    shelves: Shelves,
) -> None:
    fast = await shelves.filled(15, days=31)
    young = await shelves.filled(3, days=5)
    slow = await shelves.filled(15, days=91, slow=True)
    waits = await shelves.filled(4, days=40, slow=True)
    sound = {key: (shelves.root / key).read_bytes() for key in keys(fast)}
    kept = {key: (shelves.slow_root / key).read_bytes() for key in keys(slow)}
    for one in fast[:10]:
        flip(shelves.root / one.object_key, -1)
    for one in slow[:10]:
        flip(shelves.slow_root / one.object_key, -1)

    schedule = shelves.schedule(shelves.fast_plan(), shelves.slow_plan())
    while await schedule.slice():
        pass

    assert await shelves.in_slow() == keys([*slow, *waits])
    assert keys(fast) <= set(shelves.fast.read_back) <= keys(fast), "young ones have time"
    assert set(shelves.slow.read_back) == keys(slow), "what is not due there is not read"
    assert {key: (shelves.root / key).read_bytes() for key in sound} == sound
    assert {key: (shelves.slow_root / key).read_bytes() for key in kept} == kept
    assert not any((shelves.root / key).exists() for key in kept), "repaired where it lies"
    assert await shelves.replicated.archive.open_findings() == set()
    damaged = [one.object_key for one in (*fast[:10], *slow[:10])]
    for event in ("dicom.instance.damaged.v1", "dicom.instance.repaired.v1"):
        assert sorted(await shelves.replicated.events(event)) == sorted(damaged)
    runs = await shelves.rows(
        "SELECT kind, state, checked::int FROM index.verification_run ORDER BY kind"
    )
    assert [tuple(row) for row in runs] == [("contents", "finished", 15), ("slow", "finished", 15)]
    del young

    def metric(name: str, tier: str) -> float:
        found = REGISTRY.get_sample_value(f"darkroom_verification_{name}_seconds", {"tier": tier})
        assert found is not None
        return found / DAY.total_seconds()

    assert metric("oldest", "fast") == pytest.approx(5, abs=0.1)
    assert metric("oldest", "slow") == pytest.approx(40, abs=0.1)
    assert (metric("late", "fast"), metric("late", "slow")) == (0, 0)
    await shelves.rows(
        "UPDATE index.instance SET verified_at = now() - interval '100 days' WHERE in_slow"
        " RETURNING 1"
    )
    assert not await schedule.slice()
    assert metric("late", "slow") == pytest.approx(10, abs=0.1)


@pytest.mark.req("STO-08")
async def test_what_costs_to_read_is_looked_for_and_not_read_until_it_is_said(
    shelves: Shelves,
) -> None:
    await shelves.filled(2, days=31)
    slow = await shelves.filled(3, days=400, slow=True)
    lost = slow[0].object_key
    whole = (shelves.slow_root / lost).read_bytes()
    (shelves.slow_root / lost).unlink()
    rows = Planned(Rows(shelves.store, shelves.ledger, shelves.brake), DAY, DAY)
    schedule = shelves.schedule(rows, shelves.fast_plan())  # as VERIFY_ARCHIVE_DAYS=0 has it
    schedule.repairs = None
    while await schedule.slice():
        pass
    findings = {(lost, "missing-object")}
    assert await shelves.replicated.archive.open_findings() == findings
    assert await shelves.in_slow() == keys(slow[1:])

    (shelves.slow_root / lost).write_bytes(whole)
    flip(shelves.slow_root / slow[1].object_key, -1)
    code, lines = await shelves.verify(read_all=True)
    assert code == 0, "its presence and size are as they were"
    assert [one for one in lines if one["event"] == "passed-over"] == [
        {
            "event": "passed-over",
            "check": "slow",
            "reason": "its class charges for what is read: --archive reads it back",
        }
    ]
    assert shelves.slow.read_back == []
    code, lines = await shelves.verify(read_all=True, archive=True)
    assert code == 1
    assert await shelves.replicated.archive.open_findings() == {
        (slow[1].object_key, "altered-object")
    }
    assert set(shelves.slow.read_back) == keys(slow)


async def test_a_slow_store_that_is_away_keeps_the_fast_one_waiting_for_nothing(
    shelves: Shelves,
) -> None:
    slow = await shelves.filled(2, days=91, slow=True)
    schedule = shelves.schedule(shelves.slow_plan(), shelves.fast_plan())
    while await schedule.slice():  # where each lies is known now
        pass
    await shelves.rows(
        "UPDATE index.instance SET verified_at = now() - interval '91 days' RETURNING 1"
    )
    await shelves.rows("DELETE FROM index.verification_run RETURNING 1")
    fast = await shelves.filled(2, days=31)
    away = shelves.slow_root.with_name("away")
    shelves.slow_root.rename(away)
    shelves.fast.read_back.clear()
    while await schedule.slice():
        pass
    assert set(shelves.fast.read_back) == keys(fast)
    assert await shelves.replicated.archive.open_findings() == set()
    away.rename(shelves.slow_root)
    shelves.slow.read_back.clear()
    while await schedule.slice():
        pass
    assert set(shelves.slow.read_back) == keys(slow)


async def test_where_an_object_lies_is_seen_anew_when_it_has_come_back(shelves: Shelves) -> None:
    slow = await shelves.filled(3, days=91, slow=True)
    rows = Planned(Rows(shelves.store, shelves.ledger, shelves.brake), timedelta(0), DAY)
    await shelves.schedule(rows).slice()
    assert await shelves.in_slow() == keys(slow)
    written = slow[2].object_key
    await shelves.rows(
        "UPDATE index.instance SET object_key = $1 || '.new' WHERE object_key = $1 RETURNING 1",
        written,
    )
    assert await shelves.in_slow() == keys(slow[:2]), "what is written anew lies in the fast store"
    await shelves.rows(
        "UPDATE index.instance SET object_key = $1 WHERE object_key = $1 || '.new' RETURNING 1",
        written,
    )
    for one in slow:  # as a restored copy has it: all in one store
        (shelves.slow_root / one.object_key).rename(shelves.root / one.object_key)
    await shelves.rows("UPDATE index.instance SET in_slow = true RETURNING 1")
    single = FileSystemStore(shelves.root)
    plan = Planned(Contents.of(single, shelves.ledger, shelves.brake), DAY, FAST)
    schedule = shelves.schedule(plan, store=single)
    while await schedule.slice():
        pass
    found = await shelves.rows(
        "SELECT count(*)::int FROM index.instance WHERE verified_at > now() - interval '1 hour'"
    )
    assert found[0][0] == 3, "one store: all of it is read"
    back = shelves.schedule(Planned(Rows(single, shelves.ledger, shelves.brake), timedelta(0), DAY))
    await back.slice()
    assert await shelves.in_slow() == set()
