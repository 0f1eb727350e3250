"""How evenly the processes of a port share what comes: the part of the busiest of two."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import report
from tests.bench.report import QUICK, Table
from tests.bench.senders import make_load, send
from tests.bench.spent import of_process
from tests.support.services import Services, declare_index_queue, receiving_processes

TABLES: list[Table] = []
NOTE = "Each round ten senders (storescu) come at once, each with an association of its own."
ROUNDS = 2 if QUICK else 10


@pytest.fixture(scope="module", autouse=True)
def page() -> Iterator[None]:
    """Write the page when all is measured."""
    yield
    report.write("Shares", NOTE, TABLES)


async def test_the_busier_of_two_processes(tmp_path: Path, amqp_url: str) -> None:
    found = Table("Processor time of the busier of two receiving processes", "% of both")
    TABLES.append(found)
    await declare_index_queue(amqp_url)
    services = Services(tmp_path / "darkroom", "postgresql://nobody@127.0.0.1:1/none", amqp_url)
    services.extra |= {"LOG_LEVEL": "INFO", "PROCESSES": "2"}
    services.directory.mkdir()
    load = make_load(tmp_path / "load", objects=100, associations=10, side=512)
    try:
        await services.start("ingest")
        process = services.running["ingest"].process
        assert process
        workers = receiving_processes(process.pid)
        for _ in range(ROUNDS):
            before = [of_process(pid) for pid in workers]
            await send(load, services.dicom_port, best=True)
            spent = [of_process(pid) - was for pid, was in zip(workers, before, strict=True)]
            found.add("Darkroom", "10 associations", 100 * max(spent) / sum(spent))
    finally:
        await services.stop()
