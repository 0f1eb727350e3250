"""The console over a hospital's index: its first page, a search, and `Where is my study?`.

`BENCH_STUDIES` and `BENCH_HOSPITAL` as in `hospital.py`. One person asks, one page after the other.
"""

import itertools
import random
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from darkroom_common.clock import monotonic
from tests.bench import report
from tests.bench.hospital import STUDIES, hospital
from tests.bench.report import QUICK, Table
from tests.bench.studies import GIVEN, NAMES
from tests.bench.test_api import signed_in

ROUNDS: Final = 10 if QUICK else 60
WARMING: Final = 10
TARGETS: Final = {"first page": 200, "search": 300, "where is my study": 1000}
"""Milliseconds of the design."""
PAGE: Final = {"accept": "text/html"}
PART: Final = {**PAGE, "hx-request": "true"}
Asked = tuple[str, dict[str, str], dict[str, str]]
TABLES: list[Table] = []
NOTE: Final = (
    f"{STUDIES:,} studies. Pages as the server makes them, {ROUNDS} of each after {WARMING} others;"
    f" targets of the design: {', '.join(f'{name} {most} ms' for name, most in TARGETS.items())}."
)


@pytest.fixture(scope="module", autouse=True)
def page() -> Iterator[None]:
    """Write the section when all is measured."""
    yield
    report.write("Console", NOTE, TABLES)


def _words() -> Iterator[str]:
    """Names as people type them: a family name, or with the beginning of the given one."""
    dice = random.Random(20261127)
    for number in itertools.count():
        family = dice.choice(NAMES).partition("=")[0].split("^")[0]
        yield f"{family} {dice.choice(GIVEN)[:3]}" if number % 2 else family


async def test_pages(tmp_path: Path, amqp_url: str) -> None:
    table, slowest = Table("Pages", "ms, median"), Table("Pages, the slowest of twenty", "ms, P95")
    words = _words()
    asked: dict[str, Callable[[], Asked]] = {
        "first page": lambda: ("/worklist", {}, PAGE),
        "search": lambda: ("/worklist", {"q": next(words)}, PART),
        "where is my study": lambda: ("/where", {"q": next(words)}, PART),
    }
    async with hospital(tmp_path, amqp_url) as (services, _):
        await services.start("api")
        async with signed_in(services) as client:
            for name, what in asked.items():
                took = []
                for number in range(WARMING + ROUNDS):
                    path, query, headers = what()
                    began = monotonic()
                    answer = await client.get(path, params=query, headers=headers)
                    if number >= WARMING:
                        took.append(1000 * (monotonic() - began))
                    assert answer.status_code == 200, answer.text[:300]
                table.add(name, f"{STUDIES:,}", statistics.median(took))
                slowest.add(name, f"{STUDIES:,}", statistics.quantiles(took, n=20)[-1])
    TABLES.extend((table, slowest))
