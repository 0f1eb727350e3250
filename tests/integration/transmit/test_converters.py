"""The worker processes of conversion: what a hostile object does there is that object's loss."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from pydicom import dcmread

from darkroom_common.pixels.faults import Unconvertible
from darkroom_common.transcoding.converted import EXPLICIT
from darkroom_common.transcoding.converters import ConversionFailed, open_converters
from tests.support.real_files import REAL_FILES
from tests.support.waiting import until

J2K = "1.2.840.10008.1.2.4.90"
CT = next(path for path in REAL_FILES if path.name == "CT_small.dcm")
RLE = next(path for path in REAL_FILES if path.name == "MR_small_RLE.dcm")


def workers() -> list[int]:
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"transcoding.worker" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def reads_a_pipe(worker: int) -> bool:
    """Tell whether a process has come to opening a pipe that nobody writes to."""
    waits = Path(f"/proc/{worker}/wchan").read_text()
    return "fifo" in waits or "wait_for_partner" in waits


async def test_objects_are_converted_side_by_side(tmp_path: Path) -> None:
    left = tmp_path / "conversion-of-a-run-that-died"
    left.mkdir()
    (left / "left.dcm").write_bytes(b"a patient's image")
    async with open_converters(tmp_path, processes=2) as converters:
        assert not left.exists()
        assert (await converters.convert(RLE, [EXPLICIT])).size
        made = await asyncio.gather(*(converters.convert(CT, [J2K]) for _ in range(6)))
        assert len({one.path for one in made}) == 6
        assert {one.transfer_syntax_uid for one in made} == {J2K}
        assert len(workers()) == 2
        with pytest.raises(Unconvertible, match="none of the transfer syntaxes"):
            await converters.convert(CT, ["1.2.840.10008.1.2.4.100"])
        async with open_converters(tmp_path) as others:
            assert others.scratch != converters.scratch
            assert converters.scratch.exists()
    assert workers() == []
    assert list(tmp_path.iterdir()) == []


async def test_a_crash_costs_one_object(tmp_path: Path) -> None:
    pipe = tmp_path / "object.fifo"
    os.mkfifo(pipe)  # a reader of it waits for ever
    async with open_converters(tmp_path / "scratch", processes=1) as converters:
        await converters.convert(CT, [J2K])
        (worker,) = workers()
        stuck = asyncio.create_task(converters.convert(pipe, [J2K]))
        waiting = asyncio.create_task(converters.convert(CT, [J2K]))
        await until(lambda: reads_a_pipe(worker))
        os.kill(worker, signal.SIGSEGV)
        with pytest.raises(Unconvertible, match="crashed"):
            await stuck
        assert (await waiting).transfer_syntax_uid == J2K
        assert len(list(converters.scratch.iterdir())) == 2


async def test_a_worker_that_ended_while_it_waited_is_replaced(tmp_path: Path) -> None:
    async with open_converters(tmp_path / "scratch", processes=1) as converters:
        for _ in range(3):
            assert (await converters.convert(CT, [J2K])).size
            (worker,) = workers()
            os.kill(worker, signal.SIGKILL)
            with suppress(ChildProcessError):  # asyncio may have waited for it already
                await asyncio.to_thread(os.waitid, os.P_PID, worker, os.WEXITED | os.WNOWAIT)


async def test_a_conversion_that_does_not_end_is_ended(tmp_path: Path) -> None:
    pipe = tmp_path / "object.fifo"
    os.mkfifo(pipe)
    async with open_converters(tmp_path / "scratch", processes=1, limit=1.0) as converters:
        with pytest.raises(Unconvertible, match="too long"):
            await converters.convert(pipe, [J2K])
        assert workers() == []


async def test_greed_costs_one_object(tmp_path: Path) -> None:
    bomb = dcmread(RLE)
    bomb.Rows = bomb.Columns = 60_000
    bomb.BitsAllocated = 8
    bomb.save_as(tmp_path / "bomb.dcm")
    bomb.Rows = bomb.Columns = 16_384
    bomb.save_as(tmp_path / "large.dcm")
    async with open_converters(tmp_path / "scratch", processes=1, memory=1 << 30) as converters:
        with pytest.raises(Unconvertible, match="makes no sense"):
            await converters.convert(tmp_path / "bomb.dcm", [J2K])
        with pytest.raises(Unconvertible):
            await converters.convert(tmp_path / "large.dcm", [J2K])
        assert (await converters.convert(CT, [J2K])).size


async def test_a_failing_store_or_scratch_is_no_fault_of_the_object(tmp_path: Path) -> None:
    async with open_converters(tmp_path / "scratch", processes=1) as converters:
        with pytest.raises(ConversionFailed):
            await converters.convert(tmp_path / "gone.dcm", [J2K])
        converters.scratch.rmdir()
        with pytest.raises(ConversionFailed):
            await converters.convert(CT, [J2K])
