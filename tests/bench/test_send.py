"""P6 of the targets: sending, against DCMTK's storescu, interleaved."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from darkroom_common.dicom.part10 import decode_head
from darkroom_common.dimse.requestor import Peer
from darkroom_common.dimse.tls import TlsClient
from darkroom_common.telemetry.logs import configure_logs
from darkroom_local.engines.ports import LOOPBACK, free_port
from darkroom_transmit.sending.outcome import Outcome
from darkroom_transmit.sending.pool import AssociationPool
from darkroom_transmit.sending.sender import DimseSender, Orders
from darkroom_transmit.sending.sources import Item, Source
from darkroom_transmit.sending.throttle import Throttle
from tests.bench import report
from tests.bench.receivers import environment
from tests.bench.report import QUICK, ROUNDS, Table
from tests.bench.senders import Load, make_load, send

TABLES: list[Table] = []
NOTE = (
    f"Medians of {ROUNDS} interleaved rounds. The receiver is DCMTK's storescp, which reads and "
    "forgets, one process an association, on the same cores."
)


@pytest.fixture(scope="module", autouse=True)
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Write the page when all is measured; log as the service does, whose lines are no debug."""
    with tmp_path_factory.mktemp("log").joinpath("transmit").open("w") as stream:
        configure_logs(service="transmit", level="INFO", stream=stream)
        yield
    report.write("Sending", NOTE, TABLES)


@asynccontextmanager
async def sink(*, best: bool) -> AsyncIterator[int]:
    """DCMTK's storescp that reads and forgets: the fastest receiver at hand that is not ours."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        "storescp",
        "--fork",
        "--ignore",
        "+xa",
        "--max-pdu",
        "131072",
        str(port),
        env=environment(best=best),
    )
    try:
        async with asyncio.timeout(30):
            while True:
                try:
                    _, writer = await asyncio.open_connection(LOOPBACK, port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    break
        yield port
    finally:
        process.terminate()
        await process.wait()


def sources_of(folder: Path) -> list[Source]:
    found = []
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            meta, offset = decode_head(file.read(4096))
        size = path.stat().st_size - offset
        item = Item(
            meta.sop_instance_uid,
            meta.sop_class_uid,
            meta.transfer_syntax_uid,
            path.name,
            size,
            offset,
        )
        found.append(
            Source(
                item,
                path,
                offset,
                size,
                meta.sop_class_uid,
                meta.sop_instance_uid,
                meta.transfer_syntax_uid,
            )
        )
    return found


async def send_ours(folders: Sequence[Sequence[Source]], port: int) -> float:
    """Send as a lane does: pool, threads, an outcome told for each; return the seconds."""
    sender = DimseSender(AssociationPool(), TlsClient())
    peer = Peer(LOOPBACK, port, "DARKROOM", "BENCH")
    told: list[Outcome] = []
    with ThreadPoolExecutor(len(folders)) as threads:
        orders = Orders(
            lambda _, outcome: told.append(outcome), threading.Event(), Throttle(None), threads
        )
        loop = asyncio.get_running_loop()
        began = time.perf_counter()
        await asyncio.gather(
            *(
                loop.run_in_executor(threads, sender.deliver, peer, folder, orders)
                for folder in folders
            )
        )
        await asyncio.to_thread(sender.pool.sweep, everything=True)
        took = time.perf_counter() - began
    assert all(outcome.arrived for outcome in told)
    assert len(told) == sum(len(folder) for folder in folders)
    return took


@pytest.mark.parametrize("best", [True, False])
async def test_p6_ct_slices_to_a_fast_receiver(tmp_path: Path, best: bool) -> None:
    count = 50 if QUICK else 500
    loads: dict[int, Load] = {
        n: make_load(tmp_path / f"load{n}", objects=count, associations=n, side=512) for n in (1, 4)
    }
    prepared = {n: [sources_of(one) for one in load.folders] for n, load in loads.items()}
    how = "at its best" if best else "as shipped"
    found = Table(
        f"P6: send CT slices of 0.5 MB to storescp --ignore, DCMTK {how}",
        "objects/s",
        against="DCMTK storescu",
    )
    TABLES.append(found)
    for _ in range(ROUNDS if best else min(ROUNDS, 2)):
        for n, load in loads.items():
            async with sink(best=best) as port:
                took = await send(load, port, best=best)
                found.add("DCMTK storescu", f"{n} associations", load.objects / took)
            async with sink(best=best) as port:
                took = await send_ours(prepared[n], port)
                found.add("Darkroom", f"{n} associations", load.objects / took)
