"""A printer that is recorded, and all that a job of print works with beside it."""

from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

from darkroom_common.echoes.places import Places
from darkroom_common.films.film import Mode
from darkroom_common.films.image_box import ImageBox
from darkroom_print.composing.bitmap import Bitmap, Film
from darkroom_print.printing.print_scu import PrinterStatus

READY = PrinterStatus("NORMAL", "")


class House:
    """Shop, database, jobs, composers and printer at once; `steps` is what was asked of them."""

    def __init__(self, *waiting: int, mode: Mode = Mode.SHEET) -> None:
        self.waiting, self.mode = list(waiting), mode
        self.steps: list[str] = []
        self.kept: list[tuple[int, str, list[str]]] = []
        self.shown: list[tuple[str, str, str]] = []
        self.films: list[Any] = []
        self.faults: dict[str, Exception] = {}
        self.ours = self.acts = True
        self.said = READY
        self.ends = "DONE"
        self.warnings: list[str] = []
        self.lut: str | None = None
        self.applies_lut = False
        self.composed = Film(
            SimpleNamespace(mode=mode),  # type: ignore[arg-type]
            Bitmap(1, np.arange(64, dtype=np.uint8).reshape(8, 8), 8),
            tuple(ImageBox(n, 0, 0, 4, 4, 0.0, 0.0, 1.0, 1.0) for n in (1, 2)),
            (1, 2),
        )
        self.owner, self.places, self.tls, self.store = "here", Places(), None, None
        self.threads = ThreadPoolExecutor(1)
        self.database = self.jobs = self.table = self.configuration = self.composers = self
        self.seal: Any = SimpleNamespace(
            seal=lambda body, purpose: f"{purpose}: {body['arrange']}", open=lambda *_, **__: {}
        )
        self.heard: Callable[[PrinterStatus], None] = lambda _: None

    def _step(self, name: str) -> None:
        self.steps.append(name)
        fault = self.faults.get(name.partition(" ")[0])
        if fault is not None:
            raise fault

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[object]:
        yield self
        self.steps.append("committed")

    async def waiting_films(self, _db: object, _job: str, count: int) -> list[int]:
        assert count == 3
        return [n for n in self.waiting if n not in {one[0] for one in self.kept}]

    async def change_order(self, _db: object, _job: str, sealed: str) -> None:
        self._step(f"changed {sealed.rpartition(' ')[2]}")

    async def enter(self, _db: object, _job: Any, phase: str, *, owner: str) -> bool:
        self._step(f"enter {phase} {owner}")
        return self.ours

    async def acting(
        self, _db: object, _job: str, number: int, _known: bytes, *, owner: str
    ) -> bool:
        self._step(f"acting {number} {owner}")
        return self.acts

    async def printed(
        self, _db: object, _job: str, number: int, print_job: str, warnings: list[str]
    ) -> None:
        self._step(f"printed {number}")
        self.kept.append((number, print_job, warnings))

    async def not_acted(self, _db: object, _job: str, number: int) -> None:
        self._step(f"not-acted {number}")

    async def unknown(self, _db: object, _job: str, number: int) -> None:
        self._step(f"unknown {number}")

    async def show_status(self, printer: str, status: str, info: str) -> None:
        self.shown.append((printer, status, info))
        self._step("shown")

    @asynccontextmanager
    async def compose(self, _film: Any, files: Sequence[str]) -> AsyncIterator[Film]:
        self._step(f"compose {','.join(files)}")
        try:
            yield self.composed
        finally:
            self.steps.append("dropped")

    # what the printer is asked, in threads

    def __call__(self, _peer: Any, asked: Any, heard: Callable[[PrinterStatus], None]) -> Any:
        self._step("associate colour" if asked.colour else "associate")
        self.heard = heard
        return self

    def status(self) -> PrinterStatus:
        self._step("status")
        return self.said

    def begin(self, _session: Any) -> None:
        self._step("begin")

    def prepare(self, sheet: Any) -> str:
        self.films.append(sheet)
        self._step("prepare")
        return f"box {len(self.films)}"

    def act(self, box: str, *, on_session: bool) -> str:
        self._step(f"act {box}{' on session' if on_session else ''}")
        return f"job of {box}"

    def follow(self, print_job: str, seconds: float) -> str:
        self._step(f"follow {print_job} {seconds:g}")
        return self.ends

    def job_info(self, _print_job: str) -> str:
        return "jam"

    def forget(self, box: str) -> None:
        self._step(f"forget {box}")

    def end_session(self) -> None:
        self._step("end")

    def release(self) -> None:
        self._step("release")

    def abort(self) -> None:
        self._step("abort")
