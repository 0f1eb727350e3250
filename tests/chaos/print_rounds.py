"""Rounds of F4: print a study of two films, kill print at a named point, count the films."""

import random
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256

from pydicom.dataset import Dataset

from tests.chaos.killing import Killer
from tests.integration.print.desk import PrintDesk
from tests.integration.print.pictures import an_image
from tests.integration.print.printers import Printed, ScriptedPrinter
from tests.support.builders import new_uid

FILMS = 2
RESUMED = (
    "acting-before",
    "acting-before-commit",
    "printed-after-commit",
    "finish-before",
    "finish-before-commit",
)
"""Points where it is known which films have come out: the job goes on by itself."""
UNSURE = (
    "action-before",
    "action-asked",
    "action-answered",
    "printed-before",
    "printed-before-commit",
)
"""Points between the word that a film is about to be printed and the word that it was."""
_OF_A_JOB = ("finish-before", "finish-before-commit")


def content(film: Printed) -> str:
    """Return the SHA-256 of a film's pixels."""
    (image,) = film.images.values()
    item: Dataset = image.BasicGrayscaleImageSequence[0]
    return sha256(item.PixelData).hexdigest()


@dataclass
class PrintRounds:
    """Kills print while it prints on one printer. No two films have the same picture.

    Attributes:
        jobs: in order.
        unsure: jobs that are UNKNOWN, and whether the film in question has come out.
        expected: films in all.
    """

    desk: PrintDesk
    killer: Killer
    printer: ScriptedPrinter
    jobs: list[str] = field(default_factory=list)
    unsure: dict[str, bool] = field(default_factory=dict)
    expected: int = 0
    _chance: random.Random = field(default_factory=lambda: random.Random(20261121))

    def check(self) -> None:
        """See that as many films have come out as should, each once."""
        counts = Counter(content(film) for film in self.printer.films)
        assert set(counts.values()) <= {1}
        assert len(counts) == self.expected

    async def round(self, point: str) -> None:
        """Kill, start, and see that no film was made twice, and none left out in silence."""
        study, series, first = new_uid(), new_uid(), FILMS * len(self.jobs)
        images = await self.desk.store(
            *(
                an_image(first + number, StudyInstanceUID=study, SeriesInstanceUID=series)
                for number in range(1, FILMS + 1)
            )
        )
        number = 1 if point in _OF_A_JOB else self._chance.randint(1, FILMS)
        had = len(self.printer.films)
        self.killer.arrange(f"{point}:{number}")
        job_id = await self.desk.print(images, layout="STANDARD\\1,1")
        self.jobs.append(job_id)
        await self.killer.died("print")
        await self.desk.services.start("print")
        job = await self.desk.until(job_id, "DONE", "UNKNOWN", "FAILED")
        films = [row["state"] for row in await self.desk.films(job_id)]
        made = len(self.printer.films) - had
        if point in RESUMED:
            assert (job["state"], made) == ("DONE", FILMS), (point, job["reason"])
            assert films == ["DONE"] * FILMS, point
        else:
            assert job["state"] == "UNKNOWN", (point, job["reason"])
            assert f"film {number}" in job["reason"]
            waiting = ["WAITING"] * (FILMS - number)
            assert films == [*["DONE"] * (number - 1), "UNKNOWN", *waiting], point
            possible = {"action-before": {number - 1}, "action-asked": {number - 1, number}}
            assert made in possible.get(point, {number}), point
            self.unsure[job_id] = made == number
        self.expected += made
        self.check()

    async def settle(self) -> None:
        """Have an operator look for the films in question; then each film has come out once."""
        self.check()  # nothing has come out since
        for job_id, came in self.unsure.items():
            reply = await self.desk.act(job_id, "confirm" if came else "retry")
            assert reply.outcome == "done", reply
            job = await self.desk.until(job_id, "DONE", "UNKNOWN", "FAILED")
            assert job["state"] == "DONE", job["reason"]
        self.expected = FILMS * len(self.jobs)
        self.check()
