"""Full volumes, wrong clocks, floods of the same, stops under load, a binding that is gone."""

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import aio_pika
import pytest

from darkroom_common.messages.events import InstancesStored
from darkroom_common.topology import METADATA_INDEX
from darkroom_local.engines.postgres import PrivatePostgres
from darkroom_local.engines.process import StartError
from darkroom_local.engines.rabbitmq import PrivateRabbitMQ
from tests.chaos.killing import Ledger, check
from tests.chaos.report import Report, Row
from tests.chaos.test_engines import indexed, metric, pids, told, unharmed
from tests.integration.test_pipeline import counted, rows
from tests.support.builders import a_data_set, encode
from tests.support.dicom_peer import send
from tests.support.services import Services, declare_index_queue, prepare_database
from tests.support.waiting import lasting, until

pytestmark = pytest.mark.timeout(900)
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


@contextmanager
def small_volume(directory: Path, megabytes: int = 64) -> Iterator[None]:
    """Mount a file system of so many megabytes at a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    options = f"size={megabytes}m,mode=0711"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode != 0:
        pytest.skip("this machine does not let us mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def grow(directory: Path, megabytes: int) -> None:
    """Free space: the file system gets bigger."""
    options = f"remount,size={megabytes}m"
    subprocess.run(["mount", "-o", options, str(directory)], check=True)


def fill(directory: Path, leave: int) -> Path:
    """Take the room of a volume but for so many bytes."""
    state = os.statvfs(directory)
    ballast = directory / "ballast"
    with ballast.open("wb") as file:
        for _ in range((state.f_bavail * state.f_frsize - leave) >> 16):
            file.write(bytes(1 << 16))
    return ballast


@pytest.mark.req("ING-03")
async def test_f9_spool_of_64_mb(services: Services, report: Report) -> None:
    services.spool.mkdir()
    await prepare_database(services.superuser_url, "metadata")
    with small_volume(services.spool):
        try:
            await services.start("metadata", "ingest")
            before = pids(services)
            sent: dict[str, bytes] = {}

            def store(size: int) -> int | None:
                one = a_data_set(PixelData=bytes(size))
                uid, data = str(one.SOPInstanceUID), encode(one)
                status = send(services.dicom_port, [(uid, data)])[uid]
                if status == 0:
                    sent[uid] = data
                return status

            assert await asyncio.to_thread(store, 1000) == 0
            await counted(services, "SELECT count(*) FROM index.instance", 1)
            ballast = fill(services.spool, leave=2 << 20)
            for _ in range(20):
                assert await asyncio.to_thread(store, 4 << 20) == 0xA700
                assert list((services.spool / "ready").iterdir()) == []
                assert [p for p in (services.spool / "tmp").rglob("*") if p.is_file()] == []
            await until(
                lambda: (
                    metric(services, "ingest", 'darkroom_store_responses_total{status="A700"}')
                    >= 20
                ),
                limit=60,
            )
            assert '"store.failed"' in services.running["ingest"].log.read_text()
            assert await asyncio.to_thread(store, 1000) == 0  # what fits is taken
            ballast.unlink()
            for _ in range(20):
                assert await asyncio.to_thread(store, 4 << 20) == 0
            await counted(services, "SELECT count(*) FROM index.instance", len(sent))
            unharmed(services, before)
            found = await rows(
                services, "SELECT object_key, data_set_offset, sop_instance_uid FROM index.instance"
            )
            for row in found:
                content = (services.store / row["object_key"]).read_bytes()
                assert content[row["data_set_offset"] :] == sent[row["sop_instance_uid"]]
        finally:
            await services.stop()
    seen = "20 x 0xA700, nothing partial; goes on when there is room"
    report.add(Row("F9", "spool on 64 MB", 20, len(sent), "`store.failed`", seen))


async def test_f9_rabbitmq_on_64_mb(
    tmp_path: Path, engine_directory: Path, superuser_url: str, report: Report
) -> None:
    await prepare_database(superuser_url, "metadata")
    directory = engine_directory / "rabbitmq"
    with small_volume(directory):
        node = PrivateRabbitMQ(directory)
        services = Services(tmp_path, superuser_url, node.url())
        try:
            await node.start()  # below its own limit of free space: it takes no messages
            await services.start("ingest")
            before, ledger = pids(services), Ledger(services.dicom_port, pause=0.2)

            async def fault() -> None:
                await told(services, '"relay.waits"', 0)
                assert metric(services, "ingest", "darkroom_relay_failed_total") > 0
                grow(directory, 2048)
                await services.start("metadata")

            await ledger.during(fault)
            assert ledger.statuses == {0}
            await check(services, ledger.answered)
            unharmed(services, before | {"metadata": pids(services)["metadata"]})
        finally:
            await services.stop()
            await node.kill()
    seen = "every C-STORE answered; drained when there was room"
    report.add(Row("F9", "RabbitMQ on 64 MB", 1, len(ledger.answered), "`relay.waits`", seen))


async def test_f9_postgres_on_64_mb(
    tmp_path: Path, engine_directory: Path, amqp_url: str, report: Report
) -> None:
    directory = engine_directory / "postgres"
    with small_volume(directory):
        server = PrivatePostgres(directory, fsync=False)
        services = Services(tmp_path, "", amqp_url)
        try:
            await server.start()
            services.superuser_url = server.superuser_url("postgres")
            await prepare_database(services.superuser_url, "metadata")
            await services.start("metadata", "ingest")
            ledger = Ledger(services.dicom_port, pause=0.05)
            failed: list[str] = []

            async def fault() -> None:
                await lasting(2)
                ballast = fill(directory, leave=0)
                began = time.monotonic()
                log = services.running["metadata"].log
                await until(lambda: '"consumer.paused"' in log.read_text(), limit=60)
                failed.append(f"paused after {time.monotonic() - began:.0f} s")
                await lasting(3)
                ballast.unlink()
                grow(directory, 1024)
                await _serving(server, services)

            await ledger.during(fault)
            assert ledger.statuses == {0}
            await check(services, ledger.answered)
        finally:
            await services.stop()
            await server.stop("immediate")
    seen = f"every C-STORE answered; metadata {failed[0]}; all indexed when there was room"
    report.add(Row("F9", "PostgreSQL on 64 MB", 1, len(ledger.answered), "`consumer.paused`", seen))


async def _serving(server: PrivatePostgres, services: Services) -> None:
    """Start it again if it has ended, as whoever supervises it does."""
    async with asyncio.timeout(60):
        while True:
            try:
                await indexed(services)
            except OSError:
                await server.stop("immediate")
                with suppress(StartError):
                    await server.start()
            else:
                return


async def test_f12_clock_that_jumps(
    services: Services, monkeypatch: pytest.MonkeyPatch, report: Report
) -> None:
    if not FAKETIME.exists():
        pytest.skip("needs the Debian package faketime")
    clock = services.directory / "clock"
    clock.write_text("+0\n")
    monkeypatch.setenv("LD_PRELOAD", str(FAKETIME))
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(clock))
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    monkeypatch.setenv("DONT_FAKE_MONOTONIC", "1")
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    await prepare_database(services.superuser_url, "metadata")
    await services.start("metadata", "ingest")
    monkeypatch.delenv("LD_PRELOAD")
    before, ledger = pids(services), Ledger(services.dicom_port, pause=0.1)
    jumps = ("+1h", "-1h", "+2h", "+0", "-1h", "+1h")

    async def fault() -> None:
        for jump in jumps:
            clock.write_text(f"{jump}\n")
            await lasting(2)
            for name in before:
                assert services.running[name].probe("/readyz")[0] == 200, (jump, name)

    await ledger.during(fault)
    assert ledger.statuses == {0}
    await check(services, ledger.answered)
    unharmed(services, before)
    spread = await rows(
        services,
        "SELECT extract(epoch FROM max(received_at) - min(received_at))::int FROM index.instance",
    )
    assert spread[0][0] > 3600  # the clock was indeed another one
    seen = "ready all the while; no wait is by the wall clock"
    report.add(Row("F12", "clock jumps by hours", len(jumps), len(ledger.answered), "", seen))


async def test_f13_ten_thousand_times_the_same(services: Services, report: Report) -> None:
    await prepare_database(services.superuser_url, "metadata")
    await services.start("metadata", "ingest")
    one = a_data_set()
    uid, data = str(one.SOPInstanceUID), encode(one)

    def sender() -> None:
        left = 200
        while left:
            with_answers = 0
            for _ in range(left):
                if send(services.dicom_port, [(uid, data)]) != {uid: 0}:
                    break
                with_answers += 1
            left -= with_answers

    await asyncio.gather(*(asyncio.to_thread(sender) for _ in range(50)))
    await counted(
        services,
        "SELECT coalesce(sum(duplicates + 1), 0)::int FROM index.instance",
        10_000,
        limit=300,
    )
    assert await indexed(services) == 1
    assert len(list(services.store.rglob("*.dcm"))) == 1
    report.add(Row("F13", "the same C-STORE 50 x 200 times", 1, 1, "`duplicates`", "one row"))


async def test_f13_every_message_five_times(services: Services, report: Report) -> None:
    await prepare_database(services.superuser_url, "metadata")
    await declare_index_queue(services.amqp_url)
    await services.start("ingest")
    ledger = Ledger(services.dicom_port)
    await ledger.during(partial(lasting, 2))
    await until(lambda: not list((services.spool / "ready").iterdir()), limit=30)
    async with await aio_pika.connect(services.amqp_url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(METADATA_INDEX.name, passive=True)
        messages = queue.declaration_result.message_count or 0
        named: list[str] = []
        for _ in range(messages):
            message = await queue.get(timeout=10)
            assert message is not None
            stored = InstancesStored.from_body(message.body)
            named += (item.sop_instance_uid for item in stored.items)
            again = aio_pika.Message(
                message.body,
                headers=message.headers,
                content_type=message.content_type,
                delivery_mode=message.delivery_mode,
                message_id=message.message_id,
                type=message.type,
            )
            for _ in range(5):
                await channel.default_exchange.publish(again, METADATA_INDEX.name)
            await message.ack()
    assert set(named) == set(ledger.answered), "each is in a message, batch or not"
    await services.start("metadata")
    await until(
        lambda: metric(services, "metadata", "darkroom_amqp_consumed_total") >= 5 * messages,
        limit=60,
    )
    await check(services, ledger.answered)
    assert (await rows(services, "SELECT sum(duplicates)::int FROM index.instance"))[0][0] == 0
    report.add(Row("F13", "every message five times", 1, len(ledger.answered), "", "one row each"))


async def test_f15_stopped_under_load(services: Services, report: Report) -> None:
    await prepare_database(services.superuser_url, "metadata")
    await services.start("metadata", "ingest")
    ledger, took = Ledger(services.dicom_port, pause=0.01), []
    rounds = 5

    async def fault() -> None:
        for _ in range(rounds):
            await lasting(2)
            began = time.monotonic()
            assert await services.running["ingest"].stop(limit=25) == 0
            took.append(time.monotonic() - began)
            await services.running["ingest"].start()
            await services.running["ingest"].ready()

    await ledger.during(fault, senders=8)
    assert ledger.statuses <= {0, 0xA700}
    await check(services, ledger.answered)
    seen = f"exit 0 within {max(took):.1f} s of 25 s"
    report.add(Row("F15", "SIGTERM under load", rounds, len(ledger.answered), "exit code", seen))


async def test_f16_a_binding_deleted(services: Services, report: Report) -> None:
    await prepare_database(services.superuser_url, "metadata")
    await services.start("metadata", "ingest")
    before, ledger = pids(services), Ledger(services.dicom_port, pause=0.1)

    async def fault() -> None:
        async with await aio_pika.connect(services.amqp_url) as connection:
            queue = await (await connection.channel()).get_queue(METADATA_INDEX.name)
            await queue.unbind(InstancesStored.EXCHANGE.value, InstancesStored.TYPE)
        await told(services, '"relay.waits"', 0)
        assert metric(services, "ingest", "darkroom_relay_failed_total") > 0

    await ledger.during(fault)
    assert ledger.statuses == {0}
    await check(services, ledger.answered)
    unharmed(services, before)
    seen = "published again when the index had declared its binding again, by itself"
    report.add(Row("F16", "binding deleted", 1, len(ledger.answered), "`relay.waits`", seen))
