"""Upgrade and rollback of a loaded stack (DEP-10).

Every process is replaced under 100 objects a second and the requests of people: by those of an
older release on the newer schema, and by those of this one again. What is refused is counted, and
what was answered must be there once.
"""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from tests.chaos.report import Report, Row
from tests.e2e.test_upgrade import all_found, roll
from tests.e2e.user import DarkroomUp
from tests.support.releases import OtherRelease, back, earlier, of_commit, steps_back, this_one
from tests.support.steady_load import SETTINGS, Load
from tests.support.waiting import lasting
from tests.support.wire import descendants

RATE: Final = float(os.environ.get("DARKROOM_CHAOS_RATE", "100"))
ROLLS: Final = int(os.environ.get("DARKROOM_CHAOS_ROLLS", "2"))
LANDINGS: Final = 60
"""How far back the code is that the services have which take over no ports."""
ALL: Final = ("metadata", "transmit", "print", "licensing", "ingest", "api")
WITHOUT_PORTS: Final = ("metadata", "print", "licensing")
pytestmark = pytest.mark.timeout(1500)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that other users can reach."""
    made = Path(tempfile.mkdtemp(prefix="darkroom-upgrade-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.fixture
async def stack(directory: Path) -> AsyncIterator[DarkroomUp]:
    """`darkroom up`, ready."""
    running = DarkroomUp(directory / "data", settings=SETTINGS)
    try:
        await running.start()
        yield running
    finally:
        code = await running.stop()
    assert code == 0, "\n".join(running.output)


@pytest.fixture
def other(directory: Path) -> OtherRelease:
    return earlier(directory / "earlier")


def replaced(lines: list[dict[str, Any]]) -> dict[str, float]:
    """After how many seconds each new process was in charge."""
    return {one["service"]: one["seconds"] for one in lines if one.get("step") == "replaced"}


@pytest.mark.req("DEP-10")
async def test_nothing_is_refused_or_lost_while_all_are_replaced(
    stack: DarkroomUp, other: OtherRelease, directory: Path, report: Report
) -> None:
    commit = back(LANDINGS)
    load = Load(stack, per_second=RATE)
    took: list[float] = []
    async with load.running():
        if commit is None:
            print("no history: no code is older than that of the release before")
        else:
            older = of_commit(commit, directory / "older")
            went = await roll(stack, "--python", str(older.python), *WITHOUT_PORTS)
            assert set(replaced(went)) == {*WITHOUT_PORTS}
            await lasting(2)
            await roll(stack, "--back", *WITHOUT_PORTS)
        for words in (["--python", str(other.python)], ["--back"]) * ROLLS:
            went = await roll(stack, *words, *ALL)
            assert set(replaced(went)) == {*ALL}
            took.append(went[-1]["seconds"])
            await lasting(2)
    seconds = ", ".join(f"{one:.0f}" for one in took)
    print(f"{other.what}: {seconds} s; {load.text()}")
    assert {name: one.restarts for name, one in stack.processes().items() if one.restarts} == {}
    assert load.failed == {}
    await all_found(stack, load)
    report.add(
        Row(
            "DEP-10",
            "every process replaced by an older release and back",
            len(took),
            len(load.stored),
            "`darkroom roll`",
            f"{load.text()}; {seconds} s a roll",
        )
    )


@pytest.mark.req("DEP-10")
async def test_from_two_steps_of_the_schema_ago_and_back_while_the_broker_dies(
    directory: Path, report: Report
) -> None:
    """The old release made the schema; the new one migrates it under load."""
    commit = steps_back(2)
    if commit is None:
        pytest.skip("needs the history of the repository")
    old, new = of_commit(commit, directory / "older"), this_one(directory / "new")
    command = (str(old.python), "-m", "darkroom_local")
    stack = DarkroomUp(directory / "data", settings=SETTINGS, command=command)
    load = Load(stack, per_second=RATE)

    async def kill_the_broker() -> None:
        await lasting(8)
        broker = stack.processes()["rabbitmq"].pid
        assert broker is not None
        for pid in descendants(broker):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    took: list[float] = []
    await stack.start()
    try:
        async with load.running():
            for release in (new, old):
                killing = asyncio.create_task(kill_the_broker())
                went = await roll(stack, "--python", str(release.python), *ALL)
                await killing
                assert set(replaced(went)) == {*ALL}
                took.append(went[-1]["seconds"])
                await lasting(5)
        restarted = {name for name, one in stack.processes().items() if one.restarts}
        print(f"{old.what}: {took} s; {load.text()}")
        assert restarted == {"rabbitmq"}
        others = [what for what in load.failed if not what.startswith("health")]
        assert others == []  # what is asked of the health of all says that one is ill
        await all_found(stack, load)
    finally:
        code = await stack.stop()
    assert code == 0, "\n".join(stack.output[-50:])
    report.add(
        Row(
            "DEP-10",
            "from two steps of the schema ago to this release and back, RabbitMQ killed in each",
            len(took),
            len(load.stored),
            "`darkroom roll`",
            f"{old.what}; {load.text()}; {', '.join(f'{one:.0f}' for one in took)} s a roll",
        )
    )
