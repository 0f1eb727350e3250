"""What `darkroom roll` and `darkroom up` say to each other."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from darkroom_common.siblings import HAND_OVER
from darkroom_local.commands.roll import ask
from darkroom_local.engines.process import Child, Command, StartError
from darkroom_local.engines.supervisor import Program, Supervised
from darkroom_local.stack import rolling
from darkroom_local.stack.rolling import Desk, Release, Roll, RollError, Wish, catches, see_off
from tests.support.waiting import until


async def test_the_desk_says_each_step_and_why_it_failed(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 120)  # longer than the address of a socket
    folder.mkdir()
    asked: list[Wish] = []

    async def roll(wish: Wish) -> AsyncIterator[dict[str, Any]]:
        asked.append(wish)
        yield {"text": "begun"}
        if wish.back:
            raise RollError("there is none")
        if wish.python:
            raise StartError("it did not start")
        yield {"done": True}

    mask = os.umask(0o022)
    desk = asyncio.create_task(Desk(folder / "control", roll).run())
    await until((folder / "control").exists)
    assert os.umask(mask) == 0o022, "of all else that is made, as before"
    for wish, last in (
        (Wish(services=("api",)), {"done": True}),
        (Wish(back=True), {"failed": "there is none"}),
        (Wish(python="/p", finish=True), {"failed": "it did not start"}),
    ):
        said = [line async for line in ask(folder / "control", wish)]
        assert said == [{"text": "begun"}, last]
    assert [list(one.services) for one in asked] == [["api"], [], []]
    assert (folder / "control").stat().st_mode & 0o777 == 0o600
    desk.cancel()
    said = [line async for line in ask(folder / "nothing", Wish())]
    assert "restart it" in said[0]["failed"]


async def test_a_release_says_what_it_knows(tmp_path: Path) -> None:
    ours = await Release.of(sys.executable)
    assert ours.takes_ports
    older = Release("p", takes_ports=False, migrations={**ours.migrations, "api": 1})
    assert older.is_older_than(ours)
    assert not ours.is_older_than(older)
    with pytest.raises(RollError, match="cannot be run: Permission denied"):
        await Release.of(str(tmp_path))
    with pytest.raises(RollError, match="has no Darkroom"):
        await Release.of("/bin/false")


@pytest.mark.parametrize("handled", [True, False])
async def test_who_does_not_know_the_signal_is_not_sent_it(tmp_path: Path, handled: bool) -> None:
    handle = "signal.signal(signal.SIGUSR2, lambda *_: None)" if handled else "pass"
    code = (
        f"import signal, sys; {handle}; open('up', 'w').close(); sys.stdin.read(); signal.pause()"
    )
    log = tmp_path / "log"
    child = await Child.start(Command("one", [sys.executable, "-c", code], tmp_path, log))
    await until((tmp_path / "up").exists)
    assert catches(child, HAND_OVER) == handled
    await child.stop(signal.SIGKILL, seconds=5)
    assert not catches(child, HAND_OVER)


@pytest.mark.parametrize(("ours", "theirs", "older"), [(2, 2, False), (3, 2, False), (1, 2, True)])
def test_a_release_is_older_by_what_it_knows_of_one_schema(
    ours: int, theirs: int, *, older: bool
) -> None:
    one = Release("p", takes_ports=True, migrations={"api": ours, "ingest": 9})
    other = Release("q", takes_ports=True, migrations={"api": theirs, "ingest": 1})
    assert one.is_older_than(other) is older
    assert Release("p", takes_ports=True, migrations={}).is_older_than(other)


class Played:
    """A child that is as the test says, and notes how it is ended."""

    def __init__(self) -> None:
        self.running = True
        self.pid = 1
        self.stopped: list[tuple[int, float]] = []
        self.may_end = asyncio.Event()

    def failure(self, why: str) -> StartError:
        return StartError(f"it {why}")

    async def stop(self, number: int, *, seconds: float) -> None:
        self.stopped.append((number, seconds))
        if seconds:
            await self.may_end.wait()
        self.running = False


class House:
    """A service with an old process and a new one."""

    def __init__(self, tmp_path: Path) -> None:
        command = Command("api", ["true"], tmp_path, tmp_path / "log")
        self.old, self.new = Program(command), Program(command)
        self.old_child, self.new_child = Played(), Played()
        self.old.child, self.new.child = self.old_child, self.new_child  # type: ignore[assignment]
        self.service = Supervised("api", self.old, lambda _: None)
        self.reasons = ["not yet", "not yet", ""]
        self.steps: list[str] = []
        self.roll = Roll(self.begin, self.is_ready, self.swapped)

    async def begin(self, name: str) -> tuple[Program, str]:
        self.steps.append(f"begin {name}")
        return self.new, "http://new"

    async def is_ready(self, url: str) -> str:
        self.steps.append(f"ask {url}")
        assert self.service.runnable is self.old
        assert not self.old_child.stopped
        return self.reasons.pop(0)

    def swapped(self, name: str, url: str) -> None:
        assert self.service.runnable is self.new
        self.steps.append(f"swapped {name} {url}")


async def test_the_old_process_leaves_when_the_new_one_is_ready(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.roll.replace(house.service)
    asked = ["ask http://new"] * 3
    assert house.steps == ["begin api", *asked, "swapped api http://new"]
    await until(lambda: house.old_child.stopped)
    gone = asyncio.create_task(house.roll.gone())
    await asyncio.wait({gone}, timeout=0.05)
    assert not gone.done()
    assert list(house.roll.leaving.values()) == [house.old]
    house.old_child.may_end.set()
    await gone
    assert house.roll.leaving == {}
    assert house.old_child.stopped == [(signal.SIGTERM, rolling.LEAVE_SECONDS)]
    assert house.new_child.stopped == []


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("ends", "ended while starting"),
        ("late", "was not ready: not yet"),
        ("nothing", "nothing was started"),
        ("fails", "no port"),
    ],
)
async def test_a_new_process_that_is_not_ready_is_ended_and_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, why: str
) -> None:
    house = House(tmp_path)
    if case == "ends":
        house.new_child.running = False
    elif case == "late":
        monkeypatch.setattr(rolling, "READY_SECONDS", 0.2)
        house.reasons = ["not yet"] * 1000
    elif case == "nothing":
        house.new.child = None
    else:

        async def fails(_: str) -> tuple[Program, str]:
            raise StartError("no port")

        house.roll.begin = fails
    with pytest.raises(RollError, match=why) as refused:
        await house.roll.replace(house.service)
    assert "goes on" in str(refused.value)
    assert house.service.runnable is house.old
    assert house.old_child.stopped == []
    assert house.roll.leaving == {}
    ended = [(signal.SIGTERM, 0)] if case in ("ends", "late") else []
    assert house.new_child.stopped == ended


async def test_where_there_was_no_old_process_nobody_is_seen_off(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.old.child = None
    await house.roll.replace(house.service)
    assert house.service.runnable is house.new
    assert house.roll.leaving == {}
    await house.roll.gone()


async def test_who_has_no_process_is_not_seen_off(tmp_path: Path) -> None:
    await see_off(Program(Command("api", ["true"], tmp_path, tmp_path / "log")))


async def test_one_roll_at_a_time_and_what_is_no_wish_is_said(tmp_path: Path) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def roll(_: Wish) -> AsyncIterator[dict[str, Any]]:
        begun.set()
        yield {"text": "begun"}
        await go_on.wait()

    path = tmp_path / "control"
    desk = asyncio.create_task(Desk(path, roll).run())
    await until(path.exists)

    async def say(line: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(line)
        said = await reader.read()
        writer.close()
        await writer.wait_closed()
        return said

    first = asyncio.create_task(say(b"{}\n"))
    await begun.wait()
    assert b"another roll is under way" in await say(b'{"services": ["nobody"]}\n')
    go_on.set()
    assert await first == b'{"text": "begun"}\n'
    assert b"JSONDecodeError" in await say(b"no wish\n")
    assert b"TypeError" in await say(b'{"unknown": 1}\n')
    assert await say(b"{}\n") == b'{"text": "begun"}\n'
    desk.cancel()
