"""Workers answer, or are ended; what one task does to them never meets the next."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from darkroom_common.workers.faults import WorkerCrashed, WorkerGone, WorkerTooSlow
from darkroom_common.workers.forks import Forks
from darkroom_common.workers.pool import STARTING, Workers, open_workers

MEMORY = 256 << 20


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    module = "tests.support.stubborn_worker"
    async with open_workers(module, str(MEMORY), processes=1, longest=1 << 16) as made:
        yield made


async def test_a_worker_answers_line_by_line(workers: Workers) -> None:
    assert [await workers.ask(b"echo %d\n" % n, 20) for n in range(3)] == [b"0\n", b"1\n", b"2\n"]


@pytest.mark.parametrize(
    ("task", "limit", "fault"),
    [
        (b"die\n", 20, WorkerCrashed),
        (b"long 1000000\n", 20, WorkerCrashed),
        (b"grow 1000000000\n", 20, WorkerCrashed),
        (b"wait 60\n", 0.5, WorkerTooSlow),
    ],
)
async def test_a_task_that_ends_a_worker_costs_itself_alone(
    workers: Workers, task: bytes, limit: float, fault: type[Exception]
) -> None:
    assert await workers.ask(b"grow 1000\n", 20) == b"1000\n"
    with pytest.raises(fault):
        await workers.ask(task, limit)
    assert await workers.ask(b"echo on\n", 20) == b"on\n"


@pytest.mark.parametrize("warm", [False, True])
async def test_a_new_worker_has_time_to_start_besides_that_of_its_task(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, *, warm: bool
) -> None:
    given: list[float | None] = []
    timeout = asyncio.timeout

    def kept(seconds: float | None) -> asyncio.Timeout:
        given.append(seconds)
        return timeout(seconds)

    await workers.warm(1 if warm else 0)  # it may still be starting
    monkeypatch.setattr(asyncio, "timeout", kept)
    for number in range(2):
        assert await workers.ask(b"echo %d\n" % number, 20) == b"%d\n" % number
    assert given == [20 + STARTING, 20, 20, 20]


async def test_bytes_follow_the_line_and_the_worker_goes_on(workers: Workers) -> None:
    for size in (0, 1, 3_000_000):
        async with workers.hold(b"make %d\n" % size, 20) as held:
            held.expect(int(held.line))
            found = [len(piece) async for piece in held.read(size)]
        assert sum(found) == size
    assert len(workers._all) == 1


async def test_a_worker_whose_bytes_are_not_wanted_is_ended(workers: Workers) -> None:
    async with workers.hold(b"make 3000000\n", 20) as held:
        held.expect(3_000_000)
        async for _ in held.read(3_000_000):
            break
    assert await workers.ask(b"echo fresh\n", 20) == b"fresh\n"


async def test_bytes_that_are_cut_are_a_crash(workers: Workers) -> None:
    with pytest.raises(WorkerCrashed):
        async with workers.hold(b"cut 1000\n", 20) as held:
            held.expect(1000)
            assert [piece async for piece in held.read(1000)]
    assert await workers.ask(b"echo fresh\n", 20) == b"fresh\n"


async def test_several_lines_come_as_they_are_made(workers: Workers) -> None:
    async with workers.hold(b"count 3\n", 20) as held:
        assert [held.line, await held.follow(), await held.follow()] == [b"0\n", b"1\n", b"2\n"]
    with pytest.raises(WorkerCrashed):
        async with workers.hold(b"cut 4\n", 20) as held:
            await held.follow()
    assert await workers.ask(b"echo fresh\n", 20) == b"fresh\n"


@pytest.fixture
async def fresh() -> AsyncIterator[Workers]:
    module = "tests.support.stubborn_worker"
    async with open_workers(module, str(MEMORY), processes=3, longest=1 << 16, fresh=True) as made:
        yield made


async def test_each_task_has_a_process_of_its_own_with_nothing_of_the_others(
    fresh: Workers,
) -> None:
    async with fresh.hold(b"open 0\n", 20) as first, fresh.hold(b"open 0\n", 20) as second:
        assert first.line == second.line == b"4\n"  # input, output, errors, the list itself
        assert len(fresh._all) == 2
    assert not fresh._all
    assert await fresh.ask(b"make 0\n", 20) == b"0\n"


@pytest.mark.parametrize(
    ("task", "limit", "fault"),
    [
        (b"die\n", 20, WorkerCrashed),
        (b"grow 1000000000\n", 20, WorkerCrashed),
        (b"wait 60\n", 0.5, WorkerTooSlow),
    ],
)
async def test_a_fork_has_the_limits_of_a_worker(
    fresh: Workers, task: bytes, limit: float, fault: type[Exception]
) -> None:
    async with fresh.hold(b"make 3000000\n", 20) as other:
        other.expect(3_000_000)
        with pytest.raises(fault):
            await fresh.ask(task, limit)
        assert sum([len(piece) async for piece in other.read(3_000_000)]) == 3_000_000


async def test_what_forks_is_started_again_when_it_was_killed(fresh: Workers) -> None:
    assert fresh._forks is not None
    for number in range(3):
        async with fresh.hold(b"make 3000000\n", 20) as orphan:
            orphan.expect(3_000_000)
            assert fresh._forks._parent is not None
            os.kill(fresh._forks._parent[0].pid, signal.SIGKILL)
            assert await fresh.ask(b"echo %d\n" % number, 20) == b"%d\n" % number
            async for _ in orphan.read(1000):  # it lives on, and is ended with its task
                break
            process = next(worker for worker in fresh._all)
        assert not Path(f"/proc/{process.pid}").exists() or _is_zombie(process.pid)


def _is_zombie(pid: int) -> bool:
    return ") Z " in Path(f"/proc/{pid}/stat").read_text()


async def test_what_forks_ends_when_nothing_is_asked() -> None:
    code = (
        "from darkroom_common.workers import answering;"
        "answering.IDLE_SECONDS = 0.01; answering.answer_tasks(lambda line: [line])"
    )
    forks = Forks((sys.executable, "-c", code, str(MEMORY)), {}, 1000)
    for _ in range(3):
        child = await forks.fork()
        child.stdin.write_eof()
        assert await child.wait() == 0
        assert forks._parent is not None
        assert await forks._parent[0].wait() == 0
    await forks.close()


async def test_workers_that_are_killed_while_they_wait_cost_no_task() -> None:
    module = "tests.support.stubborn_worker"
    async with open_workers(module, str(MEMORY), processes=2) as workers:
        for number in range(20):
            await workers.warm(2)
            for worker in workers._idle:
                os.kill(worker.pid, signal.SIGKILL)  # it is not yet gone when the task is sent
            assert await workers.ask(b"echo %d\n" % number, 20) == b"%d\n" % number


@pytest.mark.parametrize("fresh", [False, True])
async def test_a_worker_that_cannot_start_has_done_nothing(*, fresh: bool) -> None:
    module = "tests.support.no_such_module"
    async with open_workers(module, str(MEMORY), processes=1, fresh=fresh) as workers:
        with pytest.raises(WorkerGone):
            await workers.ask(b"echo 1\n", 20)
