"""What DCMTK, Orthanc and pynetdicom make of what a peer may not stand (TRX-01, TRX-02)."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmread
from pynetdicom import AE, evt
from pynetdicom.events import Event

from darkroom_local.engines.ports import LOOPBACK, free_port
from tests.bench.receivers import environment
from tests.integration.transmit.desk import Desk
from tests.integration.transmit.nodes import STORE_SYNTAXES, node, orthanc_node
from tests.support.builders import CT
from tests.support.waiting import until

ONCE = {"initial_seconds": 0.2, "multiplier": 1, "ceiling_seconds": 0.2, "max_attempts": 20}


@contextmanager
def storescp(directory: Path, *options: str) -> Iterator[int]:
    """DCMTK's storescp, which writes what it gets as it understands it."""
    directory.mkdir()
    port = free_port()
    os.environ |= environment(best=False)
    command = ("storescp", "--fork", "+xa", *options, "-od", str(directory), str(port))
    with node(port, directory.parent / "storescp.log", *command):
        yield port


def dump(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["dcmdump", str(path)], capture_output=True, check=True, text=True)


async def odd_study(desk: Desk) -> tuple[Any, str]:
    """Store an instance whose last element has an odd length, as some devices send them."""
    study = await desk.study(1, PixelData=b"\7" * 1000)
    (uid,) = study.digests
    (row,) = await desk.prepared.fetch(
        "SELECT object_key, size FROM index.instance WHERE sop_instance_uid = $1", uid
    )
    path = desk.services.store / row["object_key"]
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(content + b"\xe1\x7f\x10\x00LO\x03\x00odd")
    await desk.prepared.fetch(
        "UPDATE index.instance SET size = $2 WHERE sop_instance_uid = $1", uid, row["size"] + 11
    )
    return study, uid


@pytest.mark.req("TRX-01")
@pytest.mark.parametrize("options", [(), ("+B",)], ids=["understood", "as it came"])
async def test_dcmtk_takes_an_odd_data_set(
    desk: Desk, tmp_path: Path, options: tuple[str, ...]
) -> None:
    study, _ = await odd_study(desk)
    directory = tmp_path / "dcmtk"
    with storescp(directory, *options) as port:
        await desk.destination("DCMTK", port)
        await desk.until(await desk.send("DCMTK", study), "SENT")
    (path,) = directory.iterdir()
    told = dump(path)
    assert told.stderr == ""
    assert "[odd]" in told.stdout


@pytest.mark.req("TRX-01")
async def test_orthanc_takes_an_odd_data_set(desk: Desk, tmp_path: Path) -> None:
    study, uid = await odd_study(desk)
    with orthanc_node(tmp_path, move_to=("DARKROOM", free_port())) as (port, http_port):
        await desk.destination("ORTHANC", port, ae_title="ORTHANC")
        await desk.until(await desk.send("ORTHANC", study), "SENT")
        path = tmp_path / "from_orthanc.dcm"
        url = f"http://{LOOPBACK}:{http_port}"
        async with httpx.AsyncClient(trust_env=False, base_url=url) as there:
            (key,) = (await there.get("/instances")).json()
            path.write_bytes((await there.get(f"/instances/{key}/file")).content)
    read = dcmread(path)
    assert (read.SOPInstanceUID, read[0x7FE10010].value) == (uid, "odd")


@contextmanager
def pynetdicom_peer(bad: set[str], arrived: list[str], *, kills: bool) -> Iterator[int]:
    """A storage SCP that aborts, or breaks down, at some instances."""

    def store(event: Event) -> int:
        request: Any = event.request
        uid = str(request.AffectedSOPInstanceUID)
        if uid in bad:
            if kills:
                event.assoc.kill()
            event.assoc.abort()
            return 0xC000
        arrived.append(uid)
        return 0

    ae = AE("PACS")
    ae.add_supported_context(CT, STORE_SYNTAXES)
    ae.add_supported_context("1.2.840.10008.1.1")
    handlers: Any = [(evt.EVT_C_STORE, store)]
    server = ae.start_server((LOOPBACK, 0), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@pytest.mark.req("TRX-02")
@pytest.mark.parametrize("kills", [False, True])
async def test_pynetdicom_that_aborts_gets_the_others(desk: Desk, kills: bool) -> None:
    study = await desk.study(7)
    bad = set(sorted(study.digests)[2:4])
    arrived: list[str] = []
    with pynetdicom_peer(bad, arrived, kills=kills) as port:
        await desk.destination("PACS", port, backoff=ONCE, max_associations=2, answer_seconds=3.0)
        job_id = await desk.send("PACS", study)
        job = await desk.until(job_id, "FAILED")
    assert (job["sent"], job["failed"]) == (5, 2)
    assert sorted(arrived) == sorted(set(study.digests) - bad)


@pytest.mark.req("TRX-02")
@pytest.mark.parametrize("option", ["--abort-during", "--abort-after"])
async def test_dcmtk_that_aborts_every_object_gets_all_when_it_does_not(
    desk: Desk, tmp_path: Path, option: str
) -> None:
    study = await desk.study(5)
    with storescp(tmp_path / "aborts", option) as port:
        await desk.destination("DCMTK", port, max_associations=1)
        job_id = await desk.send("DCMTK", study)
        job = await desk.until(job_id, "RETRYING", where=lambda row: row["attempts"] >= 3)
        assert (job["sent"], job["failed"]) == (0, 0)

    async def opened() -> bool:
        (row,) = await desk.prepared.fetch("SELECT breaker FROM transmit.destination")
        return bool(row["breaker"] != "closed")

    await until(opened)
    directory = tmp_path / "takes"
    with storescp(directory) as port:
        await desk.destination("DCMTK", port)
        await desk.until(job_id, "SENT")
    assert len(list(directory.iterdir())) == 5


@pytest.mark.req("TRX-05")
async def test_dcmtk_of_implicit_vr_alone_gets_what_is_made_over(
    desk: Desk, tmp_path: Path
) -> None:
    study = await desk.study(3)
    directory = tmp_path / "old"
    with storescp(directory, "+xi") as port:
        await desk.destination("OLD", port)
        await desk.until(await desk.send("OLD", study), "SENT")
    read = [dcmread(path) for path in directory.iterdir()]
    assert {one.file_meta.TransferSyntaxUID for one in read} == {"1.2.840.10008.1.2"}
    assert {str(one.SOPInstanceUID) for one in read} == set(study.digests)
