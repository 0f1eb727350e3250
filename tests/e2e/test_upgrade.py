"""Every process of a loaded stack is replaced by one of another release, and by one of this again.

The full form, of all six services, is tests/chaos/test_upgrades.py.
"""

import asyncio
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.user import DarkroomUp, instances, value
from tests.support.releases import OtherRelease, earlier
from tests.support.steady_load import SETTINGS as OF_LOAD
from tests.support.steady_load import Load
from tests.support.waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]
SETTINGS: Final = OF_LOAD
SERVICES: Final = ("metadata", "ingest", "api")
"""Those that clients and objects meet; the chaos test replaces all six."""


@pytest.fixture(scope="module")
def other() -> Iterator[OtherRelease]:
    """A release that is older, in a directory of its own."""
    directory = Path(tempfile.mkdtemp(prefix="darkroom-release-"))
    yield earlier(directory)
    shutil.rmtree(directory)


async def ask(darkroom: DarkroomUp, *words: str) -> tuple[int | None, str]:
    """Ask for it; return the exit code and what was said."""
    command = str(Path(sys.executable).with_name("darkroom"))
    process = await asyncio.create_subprocess_exec(
        *(command, "roll", "--data", str(darkroom.data), "--json", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def roll(darkroom: DarkroomUp, *words: str) -> list[dict[str, Any]]:
    """Have it done; return what was said."""
    code, said = await ask(darkroom, *words)
    assert code == 0, said
    return [json.loads(line) for line in said.splitlines()]


async def all_found(darkroom: DarkroomUp, load: Load) -> None:
    """Hold that all that was answered is there, once."""
    async with darkroom.client() as client:
        found: list[str] = []

        async def complete() -> bool:
            there = await instances(client, StudyInstanceUID=load.study)
            found[:] = [value(one, "00080018") for one in there]
            return {*load.stored} <= {*found}

        await until(complete, "all that was answered is found", limit=90)
    assert {*found} - {*load.stored} <= {*load.unanswered}
    assert max(Counter(found).values()) == 1
    assert len(list((darkroom.data / "objects").rglob("*.dcm"))) == len(found)


async def test_nothing_is_refused_while_every_process_is_replaced(
    darkroom: DarkroomUp, other: OtherRelease
) -> None:
    before = darkroom.processes()
    load = Load(darkroom, per_second=25)
    async with load.running():
        down = await roll(darkroom, "--python", str(other.python), *SERVICES)
        old = darkroom.processes()
        up = await roll(darkroom, "--back", *SERVICES)
    now = darkroom.processes()
    print(f"to {other.what}: {down[-1]['seconds']} s, back: {up[-1]['seconds']} s; {load.text()}")
    assert {line["service"] for line in down if line.get("step") == "replaced"} == {*SERVICES}
    for name, process in before.items():
        assert (process.pid != old[name].pid) == (name in SERVICES), name
        assert now[name].restarts == 0, name
    assert load.failed == {}
    assert {"C-STORE", "association", "QIDO", "STOW", "health", "sign-in"} <= set(load.asked)
    await all_found(darkroom, load)


async def test_a_release_that_does_not_start_replaces_nothing(
    darkroom: DarkroomUp, other: OtherRelease, tmp_path: Path
) -> None:
    broken = tmp_path / "python"
    fails = 'case "$*" in "-m darkroom_metadata"*) exit 3;; esac'
    broken.write_text(f'#!/bin/sh\n{fails}\nexec {other.python} "$@"\n')
    broken.chmod(0o755)
    before = {name: process.pid for name, process in darkroom.processes().items()}
    for python, why in ((broken, "the old process of metadata goes on"), (tmp_path, "cannot be")):
        code, said = await ask(darkroom, "metadata", "--python", str(python))
        assert code == 2
        assert why in said
    assert {name: process.pid for name, process in darkroom.processes().items()} == before
