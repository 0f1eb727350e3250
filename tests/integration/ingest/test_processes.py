"""Several receiving processes behind one port, one spool and one health port."""

import asyncio
import os
import re
import signal
import struct
from pathlib import Path

import pytest

from darkroom_common.dicom.part10 import FileMeta, decode_head, encode_head
from tests.support.builders import CT, a_data_set, encode
from tests.support.dicom_peer import Association, send
from tests.support.services import Services, declare_index_queue, receiving_processes
from tests.support.waiting import LIMIT, lasting, until

EXPLICIT = "1.2.840.10008.1.2.1"


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
async def ingest(tmp_path: Path, amqp_url: str) -> Services:
    """Ingest needs no database."""
    await declare_index_queue(amqp_url)
    made = Services(tmp_path, "postgresql://nobody@127.0.0.1:1/none", amqp_url)
    made.extra["PROCESSES"] = "2"
    return made


def objects(count: int) -> dict[str, bytes]:
    made = [a_data_set() for _ in range(count)]
    return {str(one.SOPInstanceUID): encode(one) for one in made}


def kept(services: Services) -> dict[str, bytes]:
    found = {}
    for path in services.store.rglob("*.dcm"):
        content = path.read_bytes()
        meta, offset = decode_head(content)
        found[meta.sop_instance_uid] = content[offset:]
    return found


async def until_kept(services: Services, sent: dict[str, bytes]) -> None:
    async with asyncio.timeout(LIMIT):
        await until(lambda: kept(services) == sent)
        await until(lambda: not list((services.spool / "ready").iterdir()))


def forking_process(main: int) -> int:
    """Return the process that forks those that receive."""
    found = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    (one,) = [pid for pid in found if Path(f"/proc/{pid}/comm").read_text() == "ingest-forks\n"]
    return int(one)


def main_pid(services: Services) -> int:
    process = services.running["ingest"].process
    assert process is not None
    return process.pid


@pytest.mark.req("ING-02", "ING-14")
async def test_all_receive_and_the_metrics_are_one(ingest: Services) -> None:
    await ingest.start("ingest")
    try:
        assert len(receiving_processes(main_pid(ingest))) == 2
        loads = [objects(10) for _ in range(6)]
        answers = await asyncio.gather(
            *(asyncio.to_thread(send, ingest.dicom_port, load.items()) for load in loads)
        )
        assert {status for one in answers for status in one.values()} == {0}
        await until_kept(ingest, {uid: data for load in loads for uid, data in load.items()})
        stored = re.compile(r'^darkroom_store_responses_total\{status="0000"\} (.+)$', re.MULTILINE)

        async def counted() -> str | None:
            _, text = await asyncio.to_thread(ingest.running["ingest"].probe, "/metrics")
            found = stored.search(text)
            return text if found and float(found[1]) == 60 else None

        text = await until(counted)
        assert "\ndarkroom_store_seconds_count 60.0\n" in text
        assert "\ndarkroom_relayed_total 60.0\n" in text
        assert "\ndarkroom_associations_open 0.0\n" in text
        assert await ingest.running["ingest"].stop() == 0
    finally:
        await ingest.stop()


@pytest.mark.req("ING-03", "ING-14")
async def test_a_killed_worker_comes_back_and_loses_nothing(ingest: Services) -> None:
    await ingest.start("ingest")
    try:
        sent = objects(120)
        left = dict(sent)

        async def sender() -> None:
            while left:
                answers = await asyncio.to_thread(
                    send, ingest.dicom_port, [(uid, left[uid]) for uid in list(left)[:20]]
                )
                for uid, status in answers.items():
                    if status == 0:
                        del left[uid]

        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(sender())
            for _ in range(4):
                await lasting(0.3)
                workers = receiving_processes(main_pid(ingest))
                if workers:
                    os.kill(workers[0], signal.SIGKILL)
            await sending
        await until_kept(ingest, sent)
        await ingest.running["ingest"].ready()
        assert len(receiving_processes(main_pid(ingest))) == 2
        assert [p for p in (ingest.spool / "tmp").rglob("*") if p.is_file()] == []
    finally:
        await ingest.stop()


@pytest.mark.req("ING-03")
async def test_when_what_forks_them_is_killed_the_service_ends_and_loses_nothing(
    ingest: Services,
) -> None:
    await ingest.start("ingest")
    service = ingest.running["ingest"]
    try:
        workers = receiving_processes(main_pid(ingest))
        kept_for_sure: dict[str, bytes] = {}
        began, over = asyncio.Event(), asyncio.Event()

        async def sender() -> None:
            while not over.is_set():
                load = objects(5)
                answers = await asyncio.to_thread(send, ingest.dicom_port, load.items())
                kept_for_sure.update({uid: load[uid] for uid, said in answers.items() if said == 0})
                began.set()

        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            tasks.create_task(sender())
            await began.wait()
            os.kill(forking_process(main_pid(ingest)), signal.SIGKILL)
            assert service.process is not None
            assert await service.process.wait() == 1, "whoever runs it starts it again"
            over.set()
        assert not any(is_running(pid) for pid in workers)
        assert "the process that forks" in service.log.read_text()
        await service.start()
        await service.ready()
        await until(lambda: kept_for_sure.items() <= kept(ingest).items())
        again = objects(3)
        answers = await asyncio.to_thread(send, ingest.dicom_port, again.items())
        assert set(answers.values()) == {0}
    finally:
        await ingest.stop()


async def test_workers_die_with_the_main_process_and_the_port_is_free(ingest: Services) -> None:
    await ingest.start("ingest")
    try:
        workers = receiving_processes(main_pid(ingest))
        await ingest.running["ingest"].kill()
        await until(lambda: not any(is_running(pid) for pid in workers))
        await ingest.running["ingest"].start()
        await ingest.running["ingest"].ready()
        sent = objects(3)
        answers = await asyncio.to_thread(send, ingest.dicom_port, sent.items())
        assert set(answers.values()) == {0}
    finally:
        await ingest.stop()


async def test_what_a_killed_main_process_left_is_relayed(ingest: Services) -> None:
    data_set = a_data_set()
    uid, data = str(data_set.SOPInstanceUID), encode(data_set)
    ready = ingest.spool / "ready"
    ready.mkdir(parents=True)
    head = encode_head(FileMeta(CT, uid, EXPLICIT, "SCANNER", "DARKROOM"))
    (ready / ("a" * 32)).write_bytes(head + data)
    await ingest.start("ingest")
    try:
        await until_kept(ingest, {uid: data})
    finally:
        await ingest.stop()


@pytest.mark.req("ING-14")
async def test_a_drain_finishes_what_is_current_and_refuses_the_rest(ingest: Services) -> None:
    await ingest.start("ingest")
    service = ingest.running["ingest"]
    try:
        data_set = a_data_set()
        uid, data = str(data_set.SOPInstanceUID), encode(data_set)
        contexts = {1: (CT, EXPLICIT)}
        current = await asyncio.to_thread(Association, ingest.dicom_port, contexts)
        waiting: list[bytes] = []
        whole = current._send

        def half(context: int, control: int, part: bytes) -> None:
            """Send the command, keep the data set back."""
            if control:
                whole(context, control, part)
            else:
                waiting.append(part)

        current._send = half  # type: ignore[method-assign, assignment]
        status = current._status
        current._status = lambda: 0  # type: ignore[method-assign]
        await asyncio.to_thread(current.store, 1, CT, uid, data)
        await lasting(0.3)
        stopping = asyncio.create_task(service.stop())

        async def came() -> bool:
            return (await asyncio.to_thread(service.probe, "/readyz"))[0] != 200

        await until(came)
        await asyncio.to_thread(whole, 1, 0, waiting[0])
        assert await asyncio.to_thread(status) == 0
        current._socket.close()
        assert await stopping == 0
        files = [*ingest.spool.rglob("ready/*"), *ingest.store.rglob("*.dcm")]
        assert any(path.read_bytes().endswith(data) for path in files)
    finally:
        await ingest.stop()


class Endless:
    """Bytes of a data set with big pixel data, made while they are sent."""

    def __init__(self, megabytes: int) -> None:
        self.data_set = a_data_set()
        del self.data_set.PixelData
        self.head = encode(self.data_set) + struct.pack(
            "<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, megabytes << 20
        )
        self.megabytes = megabytes
        self.piece = bytes(range(256)) * 256  # 64 KiB

    def send(self, port: int) -> int:
        peer = Association(port, {1: (CT, EXPLICIT)})
        with peer:
            whole, status = peer._send, peer._status
            peer._send = lambda c, k, d: whole(c, k, d) if k else None  # type: ignore[method-assign, misc, assignment]
            peer._status = lambda: 0  # type: ignore[method-assign]
            peer.store(1, CT, str(self.data_set.SOPInstanceUID), b"")
            self._fragment(peer, self.head, last=False)
            for number in range(self.megabytes * 16):
                self._fragment(peer, self.piece, last=number == self.megabytes * 16 - 1)
            return status()

    @staticmethod
    def _fragment(peer: Association, data: bytes, *, last: bool) -> None:
        head = struct.pack(">BBLLBB", 4, 0, len(data) + 6, len(data) + 2, 1, 2 * last)
        peer._socket.sendall(head + data)


async def test_memory_is_flat_while_a_big_object_arrives(ingest: Services) -> None:
    ingest.extra["PROCESSES"] = "1"
    await ingest.start("ingest")
    try:
        (worker,) = receiving_processes(main_pid(ingest))

        def most_used() -> int:
            """The most memory that the worker has ever used, in KiB."""
            status = Path(f"/proc/{worker}/status").read_text()
            return int(status.split("VmHWM:")[1].split()[0])

        assert await asyncio.to_thread(Endless(1).send, ingest.dicom_port) == 0
        before = most_used()
        assert await asyncio.to_thread(Endless(400).send, ingest.dicom_port) == 0
        assert most_used() - before < 10_000
    finally:
        await ingest.stop()
