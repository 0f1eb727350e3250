"""How often quiet studies are looked for, and that their events go out at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from darkroom_common.errors import DependencyUnavailable
from darkroom_metadata.studies.lifecycle import BATCH, Lifecycle

ROW = {
    "study_instance_uid": "1.2",
    "replicated": False,
    "revision": 1,
    "series_count": 1,
    "instance_count": 1,
    "modalities": ["CT"],
    "calling_ae_titles": ["CT1"],
    "traceparent": "",
}


class House:
    """A database with so many quiet studies at each look, and an outbox."""

    def __init__(self, *counts: int | Exception) -> None:
        self.counts = list(counts)
        self.asked: list[tuple[Any, ...]] = []
        self.steps: list[str] = []

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["House"]:
        yield self
        self.steps.append("commit")

    async def fetch(self, _: str, *given: Any) -> list[dict[str, Any]]:
        self.asked.append(given)
        count = self.counts.pop(0) if self.counts else 0
        if isinstance(count, Exception):
            raise count
        return [ROW] * count

    async def put_traced(self, _: object, messages: list[Any]) -> None:
        self.steps.append(f"put {len(messages)}")

    def wake(self) -> None:
        self.steps.append("wake")


async def looked(house: House, quiet: float, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the pauses of a run until it has looked as often as the house has counts."""
    pauses: list[float] = []
    wanted = len(house.counts)
    real = asyncio.sleep

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await real(0)

    with monkeypatch.context() as patched:
        made: Any = house
        running = asyncio.create_task(Lifecycle(made, made, timedelta(seconds=quiet)).run())
        patched.setattr(asyncio, "sleep", pause)
        while len(house.asked) < wanted or not pauses:
            await real(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return pauses


@pytest.mark.parametrize(
    ("quiet", "pause"), [(0.0, 0.1), (0.5, 0.1), (10.0, 1.0), (50.0, 5.0), (600.0, 5.0)]
)
async def test_it_looks_as_often_as_the_quiet_time_is_worth(
    quiet: float, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(0)
    assert set(await looked(house, quiet, monkeypatch)) == {pause}
    assert house.asked[0] == (timedelta(seconds=quiet), BATCH)


async def test_it_rests_only_when_there_may_be_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(BATCH, BATCH, BATCH - 1)
    before = len(await looked(house, 10, monkeypatch))
    assert house.steps[:9] == [f"put {BATCH}", "commit", "wake"] * 2 + [
        f"put {BATCH - 1}",
        "commit",
        "wake",
    ]
    assert before <= len(house.asked) - 2, "two full batches were followed at once"


async def test_a_database_that_is_away_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(DependencyUnavailable("away"), 1)
    assert await looked(house, 10, monkeypatch)
    assert house.steps[:3] == ["put 1", "commit", "wake"]


async def test_nobody_is_woken_for_nothing() -> None:
    house: Any = House(0)
    assert await Lifecycle(house, house, timedelta(0)).complete_quiet() == 0
    assert house.steps == ["put 0", "commit"]
