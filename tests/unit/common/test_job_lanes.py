"""Lanes come and go with what they are for, and never two of one name at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from darkroom_common.jobs.lanes import Lanes
from tests.support.waiting import LIMIT, until


@dataclass(frozen=True)
class Printer:
    name: str
    version: int


@dataclass
class House:
    """Printers that there are, and what becomes of their lanes."""

    printers: list[Printer] = field(default_factory=list)
    running: list[Printer] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def wanted(self) -> list[Printer]:
        return self.printers

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        yield None

    async def end_orphans(self, _: Any) -> int:
        return 0

    async def count(self, _: Any, __: list[str]) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, *running: Printer) -> None:
        async with asyncio.timeout(LIMIT), self.changed:
            await self.changed.wait_for(lambda: self.running == list(running))


@dataclass
class SlowLane:
    """It takes its time to end."""

    house: House
    printer: Printer

    async def run(self) -> None:
        self.house.running.append(self.printer)
        try:
            if self.printer.version < 0:
                raise ZeroDivisionError
            await asyncio.Event().wait()
        finally:
            await self.house.may_end.wait()
            self.house.running.remove(self.printer)

    def wake(self) -> None:
        self.house.told.append(f"wake {self.printer.version}")

    def acted(self, job: str) -> None:
        self.house.told.append(f"acted {self.printer.version} {job}")


async def test_a_changed_lane_starts_when_the_old_one_has_ended() -> None:
    old, new = Printer("FILM", 1), Printer("FILM", 2)
    house = House([old])
    lanes: Lanes[Printer, SlowLane] = Lanes(
        house,  # type: ignore[arg-type]
        house,  # type: ignore[arg-type]
        house.wanted,
        lambda one: SlowLane(house, one),
    )
    running = asyncio.create_task(lanes.run())
    await house.until(old)
    lanes.wake("FILM")
    house.printers = [new]
    lanes.reload()
    await until(lambda: "FILM" not in lanes.lanes)
    lanes.acted("FILM", "1")  # nobody is there: the new lane looks for itself
    assert house.running == [old]
    house.may_end.set()
    await house.until(new)
    lanes.acted("FILM", "2")
    assert house.told == ["wake 1", "acted 2 2"]
    house.may_end.clear()
    running.cancel()
    await asyncio.sleep(0)
    assert not running.done()  # it returns when all have ended
    house.may_end.set()
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(running, return_exceptions=True)
    assert house.running == []


async def test_a_lane_that_fails_is_made_anew_at_the_next_look() -> None:
    house = House([Printer("FILM", -1)])
    house.may_end.set()
    made: list[SlowLane] = []

    def make(one: Printer) -> SlowLane:
        made.append(SlowLane(house, one))
        return made[-1]

    lanes: Lanes[Printer, SlowLane] = Lanes(house, house, house.wanted, make)  # type: ignore[arg-type]
    running = asyncio.create_task(lanes.run())
    async with asyncio.timeout(LIMIT):
        while len(made) < 3:
            lanes.reload()
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@dataclass
class Briefly:
    """A lane that ends by itself, well or not."""

    house: House
    printer: Printer

    async def run(self) -> None:
        self.house.running.append(self.printer)
        if self.printer.version < 0:
            raise ZeroDivisionError

    def wake(self) -> None:
        self.house.told.append("wake")

    def acted(self, job: str) -> None:
        self.house.told.append(job)


async def looked(house: House, times: int) -> None:
    """Wait until the lanes have been looked at so often."""
    async with asyncio.timeout(LIMIT), house.changed:
        for _ in range(times):
            await house.changed.wait()


@pytest.mark.parametrize(("version", "anew"), [(1, True), (-1, False)])
async def test_a_lane_that_has_ended_is_nobody_and_only_one_that_failed_waits(
    version: int, *, anew: bool
) -> None:
    """One that has failed comes back with the next look, so that it fails no faster than that."""
    house = House([Printer("FILM", version)])
    lanes: Lanes[Printer, Briefly] = Lanes(
        house,  # type: ignore[arg-type]
        house,  # type: ignore[arg-type]
        house.wanted,
        lambda one: Briefly(house, one),
    )
    running = asyncio.create_task(lanes.run())
    await looked(house, 1)
    await until(lambda: not lanes._tasks or len(house.running) > 1)
    if anew:
        await until(lambda: len(house.running) > 2)
    else:
        assert lanes.lanes == {}
        assert not lanes._changed.is_set()
        lanes.acted("FILM", "1")
        assert (house.told, len(house.running)) == ([], 1)
        lanes.wake("FILM")  # it is not there: it is looked for
        await until(lambda: len(house.running) == 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
