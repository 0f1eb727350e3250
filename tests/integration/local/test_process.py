"""Children, ports and locks, with real processes."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from darkroom_local.engines.lock import AlreadyRunningError, DirectoryLock
from darkroom_local.engines.ports import PortBook, free_port, is_free
from darkroom_local.engines.process import (
    Child,
    Command,
    StartError,
    leftovers,
    reclaim,
    rotate,
    tail,
)
from tests.support.waiting import until


def python(directory: Path, code: str) -> Command:
    return Command(
        name="python",
        arguments=[sys.executable, "-c", code],
        directory=directory,
        log=directory / "python.log",
    )


async def test_a_child_that_ends_while_starting_shows_its_log(tmp_path: Path) -> None:
    child = await Child.start(python(tmp_path, "print('the reason'); raise SystemExit(4)"))
    with pytest.raises(StartError, match=r"(?s)code 4 .*the reason"):
        await child.ready(lambda: False, seconds=10)


async def test_a_child_that_is_not_ready_in_time_is_told(tmp_path: Path) -> None:
    child = await Child.start(python(tmp_path, "import signal; signal.pause()"))
    with pytest.raises(StartError, match=r"not ready within 0.1 s"):
        await child.ready(lambda: False, seconds=0.1)
    assert await child.stop(seconds=5) == -signal.SIGTERM


async def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    command = Command("ghost", ["/nonexistent/ghost"], tmp_path, tmp_path / "log")
    with pytest.raises(StartError, match="/nonexistent/ghost"):
        await Child.start(command)


async def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    code = "import signal; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    child = await Child.start(python(tmp_path, f"{code}; signal.pause()"))
    await child.ready(lambda: "1" in tail(tmp_path / "python.log"), seconds=10)
    assert await child.stop(seconds=0.1) == -signal.SIGKILL


async def test_leftovers_are_found_by_their_mark_with_their_children(tmp_path: Path) -> None:
    code = "import subprocess; subprocess.run(['sleep', '60'])"
    child = await Child.start(python(tmp_path, code))
    await until(lambda: len(leftovers(tmp_path)) >= 2)
    assert leftovers(tmp_path / "other") == []
    assert child.pid in await reclaim(tmp_path, gently=signal.SIGTERM)
    assert leftovers(tmp_path) == []


async def test_somebody_working_in_the_directory_is_left_alone(tmp_path: Path) -> None:
    bystander = await asyncio.create_subprocess_exec("sleep", "60", cwd=tmp_path)
    assert await reclaim(tmp_path, gently=signal.SIGKILL) == []
    bystander.kill()
    await bystander.wait()


def test_the_last_logs_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    for number in range(8):
        log.write_text(str(number))
        rotate(log)
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert kept == {f"x.log.{age}": str(8 - age) for age in range(1, 6)}


def test_ports_stay_the_same_while_they_are_free(tmp_path: Path) -> None:
    first = PortBook(tmp_path / "ports.json")
    port, other = first.port("a"), first.port("b")
    assert port != other
    assert PortBook(tmp_path / "ports.json").port("a") == port


def test_a_free_port_is_none_of_those_taken() -> None:
    port = free_port()
    assert is_free(port)
    assert free_port(frozenset({port})) != port


def test_a_lock_names_its_owner_and_ends_with_it(tmp_path: Path) -> None:
    second = DirectoryLock(tmp_path)
    message = f"process {os.getpid()}"
    with DirectoryLock(tmp_path), pytest.raises(AlreadyRunningError, match=message):
        second.acquire()
    with DirectoryLock(tmp_path):
        pass
