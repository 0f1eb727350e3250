"""Supervision with a process that is none."""

import asyncio

import pytest

from darkroom_local.engines import supervisor
from darkroom_local.engines.process import Child, StartError
from darkroom_local.engines.supervisor import Supervised
from tests.support.waiting import until


class Fragile:
    """Ends as soon as `crash` is set; cannot be started while `broken`."""

    def __init__(self) -> None:
        self.child: Child | None = None
        self.starts = 0
        self.kills = 0
        self.broken = False
        self.crash = asyncio.Event()

    async def start(self) -> None:
        if self.broken:
            raise StartError("fragile is broken; its log")
        self.starts += 1

    async def ended(self) -> str:
        await self.crash.wait()
        self.crash.clear()
        return "ended with code 3"

    async def kill(self) -> None:
        self.kills += 1


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Sleeping takes no time and is noted."""
    asked: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        asked.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", note)
    return asked


async def crash_once(fragile: Fragile) -> None:
    before = fragile.starts
    fragile.crash.set()
    await until(lambda: fragile.starts > before, poll=0)


async def crash(fragile: Fragile, times: int) -> None:
    for _ in range(times):
        await crash_once(fragile)


async def test_it_is_started_again_after_a_growing_delay(delays: list[float]) -> None:
    fragile, seen = Fragile(), []
    one = Supervised("x", fragile, lambda it: seen.append((it.state, it.reason)))
    await one.start()
    keeping = asyncio.create_task(one.keep())
    await crash(fragile, times=8)
    keeping.cancel()
    grown = [delay for delay in delays if delay]
    assert grown == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert one.restarts == 8
    assert fragile.kills == 8
    assert seen[:3] == [("starting", ""), ("running", ""), ("restarting", "ended with code 3")]


async def test_the_delay_is_short_again_after_a_stable_time(
    delays: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "STABLE_SECONDS", 0)
    fragile = Fragile()
    one = Supervised("x", fragile, lambda _: None)
    await one.start()
    keeping = asyncio.create_task(one.keep())
    await crash(fragile, times=3)
    keeping.cancel()
    assert [delay for delay in delays if delay] == [0.2, 0.2, 0.2]


async def test_a_failing_start_is_tried_again_and_told(delays: list[float]) -> None:
    fragile, reasons = Fragile(), []
    one = Supervised("x", fragile, lambda it: reasons.append(it.reason))
    await one.start()
    fragile.broken = True
    fragile.crash.set()
    keeping = asyncio.create_task(one.keep())
    await until(lambda: "fragile is broken" in reasons)
    fragile.broken = False
    await until(lambda: fragile.starts == 2)
    keeping.cancel()
    assert one.state == "running"


async def test_health_counts_only_while_it_runs() -> None:
    one = Supervised("x", Fragile(), lambda _: None)
    seen = []
    for step in (one.start, None):
        one.checked(ready=True)
        seen.append(one.ready)
        if step:
            await step()
    one.set("restarting", "why")
    assert [*seen, one.ready] == [False, True, False]


async def test_one_that_was_replaced_may_end_and_the_other_is_kept(delays: list[float]) -> None:
    old, new = Fragile(), Fragile()
    supervised = Supervised("service", old, lambda _: None)
    await supervised.start()
    keeping = asyncio.create_task(supervised.keep())
    await crash_once(old)
    supervised.replace(new)
    old.crash.set()
    await crash_once(new)
    keeping.cancel()
    assert (old.starts, new.starts, supervised.restarts) == (2, 1, 2)
