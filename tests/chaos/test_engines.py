"""RabbitMQ and PostgreSQL stopped, starved and behind a bad line, while senders are at work."""

import os
import statistics
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from darkroom_local.engines.postgres import PrivatePostgres
from darkroom_local.engines.rabbitmq import PrivateRabbitMQ
from tests.chaos.killing import Ledger, check
from tests.chaos.proxy import Proxy, proxy_to
from tests.chaos.report import Report, Row
from tests.integration.test_pipeline import rows
from tests.support.services import Services, prepare_database
from tests.support.waiting import lasting, until

OUTAGE = float(os.environ.get("DARKROOM_CHAOS_OUTAGE", "60"))
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
async def own(
    tmp_path: Path, own_postgres: PrivatePostgres, own_rabbitmq: PrivateRabbitMQ
) -> AsyncIterator[Services]:
    """Services on engines of the test's own."""
    made = Services(tmp_path, own_postgres.superuser_url("postgres"), own_rabbitmq.url())
    await prepare_database(made.superuser_url, "metadata")
    yield made
    await made.stop()


def pids(services: Services) -> dict[str, int]:
    return {
        name: one.process.pid for name, one in services.running.items() if one.process is not None
    }


def unharmed(services: Services, before: dict[str, int]) -> None:
    """No service has ended."""
    assert pids(services) == before
    for one in services.running.values():
        assert one.process is not None
        assert one.process.returncode is None


def metric(services: Services, service: str, name: str) -> float:
    """The sum of a metric's samples."""
    _, text = services.running[service].probe("/metrics")
    return sum(
        float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name)
    )


async def told(services: Services, event: str, since: int, limit: float = 60) -> None:
    """A log line of ingest says so, with a receipt."""
    log = services.running["ingest"].log
    await until(
        lambda: any(
            event in line and '"receipt":' in line for line in log.read_text()[since:].splitlines()
        ),
        limit=limit,
    )


async def indexed(services: Services) -> int:
    return int((await rows(services, "SELECT count(*) FROM index.instance"))[0][0])


async def _more_than(services: Services, count: int) -> bool:
    return await indexed(services) > count


@pytest.mark.req("ING-03")
async def test_f5_broker_stopped_under_load(
    own: Services, own_rabbitmq: PrivateRabbitMQ, report: Report
) -> None:
    await own.start("metadata", "ingest")
    before, ledger = pids(own), Ledger(own.dicom_port, pause=0.2)
    medians: list[float] = []

    async def fault() -> None:
        await lasting(5)
        medians.append(statistics.median(ledger.seconds))
        await own_rabbitmq.stop()
        ledger.seconds.clear()
        began = time.monotonic()
        await told(own, '"relay.waits"', 0)
        await lasting(OUTAGE - (time.monotonic() - began))
        medians.append(statistics.median(ledger.seconds))
        assert max(ledger.seconds) < 5
        assert metric(own, "ingest", "darkroom_relay_failed_total") > 0
        await own_rabbitmq.start()

    await ledger.during(fault)
    assert ledger.statuses == {0}
    await check(own, ledger.answered)
    unharmed(own, before)
    seen = f"five objects in {medians[0] * 1000:.0f} ms before, {medians[1] * 1000:.0f} ms during"
    report.add(
        Row("F5", f"broker stopped {OUTAGE:.0f} s", 1, len(ledger.answered), "`relay.waits`", seen)
    )


ALARMS = {
    "memory": (
        ("set_vm_memory_high_watermark", "0.00001"),
        ("set_vm_memory_high_watermark", "0.4"),
    ),
    "disk": (("set_disk_free_limit", "100000GB"), ("set_disk_free_limit", "50MB")),
}


@pytest.mark.parametrize("alarm", ALARMS)
async def test_f6_alarm_of_the_broker(
    own: Services, own_rabbitmq: PrivateRabbitMQ, report: Report, alarm: str
) -> None:
    raise_it, end_it = ALARMS[alarm]
    await own.start("metadata", "ingest")
    first = Ledger(own.dicom_port)
    await first.during(partial(lasting, 1))
    await check(own, first.answered)
    await own.running["metadata"].stop()
    waiting = Ledger(own.dicom_port)
    await waiting.during(partial(lasting, 1))
    await until(lambda: not (list((own.spool / "ready").iterdir())), limit=30)
    ledger = Ledger(own.dicom_port, pause=0.3)
    since = len(own.running["ingest"].log.read_text())

    async def fault() -> None:
        await own_rabbitmq.control(*raise_it)
        await told(own, '"relay.waits"', since)
        assert metric(own, "ingest", "darkroom_relay_failed_total") > 0
        await own.running["metadata"].start()  # consuming goes on

        async def came() -> bool:
            return bool(await indexed(own) >= len(first.answered | waiting.answered))

        await until(came, limit=60)
        assert list((own.spool / "ready").iterdir()) != []
        await own_rabbitmq.control(*end_it)

    await ledger.during(fault)
    assert ledger.statuses == {0}
    await own.running["metadata"].ready()
    await check(own, first.answered | waiting.answered | ledger.answered)
    seen = f"{len(waiting.answered)} queued before were consumed during the alarm"
    report.add(Row("F6", f"{alarm} alarm", 1, len(ledger.answered), "`relay.waits`", seen))


async def test_f8_postgres_stopped_at_once(
    own: Services, own_postgres: PrivatePostgres, report: Report
) -> None:
    await own.start("metadata", "ingest")
    before, ledger = pids(own), Ledger(own.dicom_port, pause=0.1)
    healed: list[float] = []
    rounds = 3

    async def fault() -> None:
        for _ in range(rounds):
            await lasting(3)
            await own_postgres.stop("immediate")
            await lasting(5)
            assert own.running["metadata"].probe("/readyz")[0] == 503
            await own_postgres.start()
            began, count = time.monotonic(), await indexed(own)
            await until(partial(_more_than, own, count), limit=30)
            healed.append(time.monotonic() - began)

    await ledger.during(fault)
    assert ledger.statuses == {0}
    await check(own, ledger.answered)
    unharmed(own, before)
    seen = f"rows again {max(healed):.1f} s after the start at most; no service restarted"
    what = "PostgreSQL stopped with immediate"
    report.add(Row("F8", what, rounds, len(ledger.answered), "`/readyz` 503", seen))


@pytest.mark.parametrize("link", ["sender", "broker", "postgres"])
async def test_f11_a_bad_line(
    tmp_path: Path,
    own_postgres: PrivatePostgres,
    own_rabbitmq: PrivateRabbitMQ,
    report: Report,
    link: str,
) -> None:
    direct = Services(tmp_path, own_postgres.superuser_url("postgres"), own_rabbitmq.url())
    await prepare_database(direct.superuser_url, "metadata")
    ports = {"broker": own_rabbitmq.ports.amqp, "postgres": own_postgres.port}
    target = ports.get(link, direct.dicom_port)
    async with proxy_to(target) as proxy:
        services = Services(
            tmp_path,
            proxy.url(direct.superuser_url) if link == "postgres" else direct.superuser_url,
            proxy.url(direct.amqp_url) if link == "broker" else direct.amqp_url,
            dicom_port=direct.dicom_port,
        )
        try:
            await services.start("metadata", "ingest")
            before = pids(services)
            port = proxy.port if link == "sender" else direct.dicom_port
            total: dict[str, str] = {}
            for what, abuse in ABUSES.items():
                ledger = Ledger(port, pause=0.2)
                await ledger.during(lambda abuse=abuse: abuse(proxy), senders=2)  # type: ignore[misc]
                assert ledger.statuses <= {0}
                total |= ledger.answered
                direct.running = services.running
                await check(direct, total)
                unharmed(services, before)
                seen = "every object was answered, at the first or a later try"
                objects = len(ledger.answered)
                report.add(Row("F11", f"{link}: {what}", 1, objects, "", seen))
        finally:
            await services.stop()


async def _delayed(proxy: Proxy) -> None:
    proxy.delay = 0.3
    await lasting(10)
    proxy.delay = 0.0


async def _bytewise(proxy: Proxy) -> None:
    proxy.piece = 1
    await lasting(10)
    proxy.piece = 65536


async def _cut(proxy: Proxy) -> None:
    for _ in range(10):
        await lasting(0.7)
        proxy.cut(reset=False)


async def _reset(proxy: Proxy) -> None:
    for _ in range(10):
        await lasting(0.7)
        proxy.cut(reset=True)


ABUSES = {
    "300 ms of delay for 10 s": _delayed,
    "one byte at a time for 10 s": _bytewise,
    "cut ten times": _cut,
    "reset ten times": _reset,
}
