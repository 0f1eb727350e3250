"""F4: `kill -9` of print around the N-ACTION that makes film, `DARKROOM_CHAOS_ROUNDS` times each.

The oracle is the printer: the films that came out of it.
"""

import time

import pytest

from tests.chaos.conftest import ROUNDS
from tests.chaos.killing import Killer
from tests.chaos.print_rounds import RESUMED, UNSURE, PrintRounds
from tests.chaos.report import Report, Row
from tests.integration.print.desk import open_desk
from tests.integration.print.printers import scripted
from tests.support.services import Services


@pytest.mark.timeout(3600)
@pytest.mark.req("PRN-05")
@pytest.mark.parametrize("point", [*RESUMED, *UNSURE])
async def test_killed_at_each_point_no_film_is_printed_twice(
    services: Services, monkeypatch: pytest.MonkeyPatch, report: Report, point: str
) -> None:
    killer = Killer.prepare(services, monkeypatch)
    began = time.monotonic()
    with scripted() as printer:
        async with open_desk(services) as desk:
            services.extra["LEASE_SECONDS"] = "1"
            await services.start("print")
            await desk.printer(printer.port)
            rounds = PrintRounds(desk, killer, printer)
            for _ in range(ROUNDS):
                await rounds.round(point)
            unsure = len(rounds.unsure)
            await rounds.settle()
            films = rounds.expected
    seconds = time.monotonic() - began
    seen = f"{ROUNDS - unsure} jobs went on by themselves, {unsure} UNKNOWN; {seconds:.0f} s"
    told = "job UNKNOWN" if unsure else "job rows"
    report.add(Row("F4", f"kill -9 print {point}", ROUNDS, films, told, seen))
