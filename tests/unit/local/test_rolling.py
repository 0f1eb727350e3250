"""What `darkroom roll` and `darkroom up` say to each other."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from darkroom_common.siblings import HAND_OVER
from darkroom_local.commands.roll import ask
from darkroom_local.engines.process import Child, Command, StartError
from darkroom_local.stack.rolling import Desk, Release, RollError, Wish, catches
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

    desk = asyncio.create_task(Desk(folder / "control", roll).run())
    await until((folder / "control").exists)
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
    with pytest.raises(RollError, match="cannot be run"):
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
