"""The worker processes of composing: what a hostile image does there is its film's loss."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from darkroom_common.films.film import FILM_SIZES, FilmPlan, Mode
from darkroom_common.films.presentation_lut import LutShape, PresentationLut
from darkroom_common.pixels.window import Window
from darkroom_common.specs.film_layouts import InvalidLayout, parse_layout
from darkroom_print.composing.compose import compose
from darkroom_print.composing.composer import ComposingFailed, open_composers
from darkroom_print.composing.exchange import CannotCompose
from darkroom_print.images.picture import Picture
from tests.support.real_files import REAL_FILES
from tests.support.waiting import until
from tests.unit.print.images import a_file, a_ramp, an_image

CT = next(path for path in REAL_FILES if path.name == "CT_small.dcm")
LOSSLESS = next(path for path in REAL_FILES if path.name == "MR_small_jp2klossless.dcm")
COLOUR = next(path for path in REAL_FILES if path.name == "SC_rgb_jpeg_dcmtk.dcm")
PLAN = FilmPlan(
    FILM_SIZES["8INX10IN"], parse_layout("2x2"), dpi=60, bits=12, header="{PatientName}"
)


def workers() -> list[int]:
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [int(child) for child in children if b"composing.worker" in _command(child)]


def _command(child: str) -> bytes:
    """Return what a process was started as; nothing of one that has gone meanwhile."""
    try:
        return Path(f"/proc/{child}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


@pytest.mark.req("PRN-02", "PRN-08")
@pytest.mark.parametrize("mode", list(Mode))
async def test_a_film_of_workers_is_the_film_of_one_process(tmp_path: Path, mode: Mode) -> None:
    left = tmp_path / "film-of-a-run-that-died"
    left.mkdir()
    (left / "left.sheet").write_bytes(b"a patient's image")
    pictures = [Picture(CT, window=Window(40, 400)), Picture(LOSSLESS), Picture(COLOUR)]
    lut = PresentationLut(LutShape.TABLE, tuple(range(0, 65536, 257)), 16)
    plan = FilmPlan(
        PLAN.size,
        PLAN.layout,
        mode,
        dpi=60,
        bits=12,
        header="{PatientName}",
        footer="x",
        patient_box="{Modality}",
        scale_bar=True,
        presentation_lut=lut,
    )
    here = compose(plan, pictures)
    async with open_composers(tmp_path, processes=2) as composers:
        assert not left.exists()
        async with composers.compose(plan, pictures) as film:
            assert np.array_equal(film.sheet.pixels, here.sheet.pixels)
            assert film.places == here.places
            assert [box.position for box in film.boxes] == [1, 2, 3]
            assert not film.sheet.pixels.flags.writeable
            assert [path.stat().st_mode & 0o777 for path in composers.scratch.iterdir()] == [0o600]
        assert list(composers.scratch.iterdir()) == []
        assert len(workers()) == 2
    assert workers() == []
    assert list(tmp_path.iterdir()) == []


async def test_a_film_without_images_is_a_film(tmp_path: Path) -> None:
    async with open_composers(tmp_path) as composers, composers.compose(PLAN, []) as film:
        assert film.boxes == ()
        assert film.sheet.pixels.max() == 0


async def test_what_is_at_fault_is_told(tmp_path: Path) -> None:
    async with open_composers(tmp_path / "scratch") as composers:
        with pytest.raises(InvalidLayout):
            async with composers.compose(PLAN, [Picture(CT)] * 5):
                pass
        with pytest.raises(CannotCompose, match="image 2: it has 1 frames") as told:
            async with composers.compose(PLAN, [Picture(CT), Picture(CT, 2)]):
                pass
        assert told.value.picture == 1
        with pytest.raises(ComposingFailed, match="No such file"):
            async with composers.compose(PLAN, [Picture(tmp_path / "gone.dcm")]):
                pass
        assert list(composers.scratch.iterdir()) == []


async def test_a_crash_costs_one_film(tmp_path: Path) -> None:
    pipe = tmp_path / "image.fifo"
    os.mkfifo(pipe)  # a reader of it waits for ever
    plain = FilmPlan(PLAN.size, PLAN.layout, dpi=60)
    async with open_composers(tmp_path / "scratch", processes=1) as composers:
        async with composers.compose(plain, [Picture(CT)]):
            (worker,) = workers()
        stuck = asyncio.create_task(_composed(composers.compose(plain, [Picture(pipe)])))
        await until(lambda: _reads(worker, pipe))
        os.kill(worker, signal.SIGSEGV)
        with pytest.raises(CannotCompose, match="image 1: drawing it crashed"):
            await stuck
        async with composers.compose(plain, [Picture(CT)]) as film:
            assert film.sheet.pixels.max() > 0


async def test_a_worker_that_ended_while_it_waited_is_replaced(tmp_path: Path) -> None:
    async with open_composers(tmp_path / "scratch", processes=2) as composers:
        await composers.warm(2)
        # The kernel's list of children lacks one now and then while it changes.
        old = await until(lambda: found if len(found := workers()) == 2 else None, "both workers")
        for worker in old:
            os.kill(worker, signal.SIGKILL)
            with suppress(ChildProcessError):  # asyncio may have waited for it already
                await asyncio.to_thread(os.waitid, os.P_PID, worker, os.WEXITED | os.WNOWAIT)
        async with composers.compose(PLAN, [Picture(CT)]) as film:
            assert film.sheet.pixels.max() > 0


async def _composed(film: object) -> None:
    async with film:  # type: ignore[attr-defined] # whatever compose returns
        pass


def _reads(worker: int, pipe: Path) -> bool:
    """Tell whether a process has come to opening a pipe that nobody writes to."""
    with_syscall = Path(f"/proc/{worker}/wchan").read_text()
    return "fifo" in with_syscall or "wait_for_partner" in with_syscall


async def test_drawing_that_does_not_end_is_ended(tmp_path: Path) -> None:
    pipe = tmp_path / "image.fifo"
    os.mkfifo(pipe)
    plain = FilmPlan(PLAN.size, PLAN.layout, dpi=60)
    async with open_composers(tmp_path / "scratch", processes=1, limit=3.0) as composers:
        with pytest.raises(CannotCompose, match="too long"):
            async with composers.compose(plain, [Picture(pipe)]):
                pass
        assert workers() == []
        assert list(composers.scratch.iterdir()) == []


async def test_greed_costs_one_film(tmp_path: Path) -> None:
    ds = an_image(a_ramp(), Rows=16_000, Columns=16_000, NumberOfFrames=1)
    ds.PixelData = b"\0" * (16_000 * 16_000 * 2)
    large = Picture(a_file(tmp_path / "large.dcm", ds))
    scratch = tmp_path / "scratch"
    async with open_composers(scratch, processes=1, memory=1200 << 20) as composers:
        with pytest.raises(CannotCompose, match="more memory"):
            async with composers.compose(PLAN, [large]):
                pass
        async with composers.compose(PLAN, [Picture(CT)]) as film:
            assert film.sheet.pixels.max() > 0


async def test_a_film_that_nobody_waits_for_leaves_nothing(tmp_path: Path) -> None:
    pipe = tmp_path / "image.fifo"
    os.mkfifo(pipe)
    plain = FilmPlan(PLAN.size, PLAN.layout, dpi=60)
    async with open_composers(tmp_path / "scratch", processes=2) as composers:
        pictures = [Picture(CT), Picture(pipe)]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3), composers.compose(plain, pictures):
                pass
        assert list(composers.scratch.iterdir()) == []
        async with composers.compose(plain, [Picture(CT)] * 4) as film:
            assert len(film.boxes) == 4
    assert workers() == []
