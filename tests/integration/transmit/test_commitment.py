"""Storage commitment with pynetdicom and Orthanc as the destinations that keep, or do not."""

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest

from darkroom_local.engines.ports import LOOPBACK, free_port
from tests.integration.transmit.desk import QUICK, Desk
from tests.integration.transmit.keeper import Keeper, commitment, keeping
from tests.support.waiting import until


@pytest.mark.req("TRX-06")
@pytest.mark.parametrize("report", ["same", "new"])
async def test_what_is_sent_is_committed(desk: Desk, report: str) -> None:
    port = free_port()
    await desk.services.running["transmit"].stop()
    desk.services.extra |= {"COMMITMENT_PORT": str(port), "COMMITMENT_HOST": LOOPBACK}
    await desk.services.start("transmit")
    study = await desk.study(5)
    with keeping(Keeper(report=report, report_port=port)) as keeper:
        await desk.destination("PACS", keeper.port, **commitment())
        job_id = await desk.send("PACS", study)
        await desk.until(job_id, "COMMITTED")
        assert {row["state"] for row in (await desk.instances(job_id)).values()} == {"COMMITTED"}
        assert [sorted(one) for one in keeper.asked] == [sorted(study.digests)]


@pytest.mark.req("TRX-06")
async def test_a_report_of_another_title_of_the_same_host_is_taken_and_told(desk: Desk) -> None:
    port = free_port()
    await desk.services.running["transmit"].stop()
    desk.services.extra |= {"COMMITMENT_PORT": str(port), "COMMITMENT_HOST": LOOPBACK}
    desk.services.extra["COMMITMENT_WAIT_SECONDS"] = "0.2"
    await desk.services.start("transmit")
    study = await desk.study(2)
    stranger = ("STRANGER", "127.0.0.2")
    with keeping(Keeper(report="new", report_port=port, report_as=stranger)) as keeper:
        await desk.destination("PACS", keeper.port, host="localhost", **commitment())
        job_id = await desk.send("PACS", study)
        await until(lambda: keeper.answers)
        assert keeper.answers == [0x0115]  # it knows the transaction, and is somebody else
        (told,) = keeper.told
        keeper.report_as = ("PACS_CMT", LOOPBACK)
        told[0].TransactionUID = "2.25.1"
        await asyncio.to_thread(keeper.call, *told)
        assert keeper.answers[1:] == [0x0115]  # nor does the title help who does not know it
        told[0].TransactionUID = keeper.transactions[0]
        await asyncio.to_thread(keeper.call, *told)
        assert keeper.answers[2:] == [0x0000]
        await desk.until(job_id, "COMMITTED")
        assert len(keeper.asked) == 1
    (row,) = await desk.prepared.fetch("SELECT reported_as FROM transmit.commitment")
    assert row["reported_as"] == "PACS_CMT"
    assert [line["reported_as"] for line in desk.logged("commitment.answered")] == ["PACS_CMT"]


@pytest.mark.req("TRX-06")
async def test_what_is_not_committed_is_sent_again(desk: Desk) -> None:
    study = await desk.study(4)
    with keeping(Keeper(loses=2)) as keeper:
        await desk.destination("PACS", keeper.port, **commitment())
        job_id = await desk.send("PACS", study)
        job = await desk.until(job_id, "COMMITTED")
        assert (job["sent"], job["total"]) == (4, 4)
        assert len(keeper.stored) == 6
        assert [len(one) for one in keeper.asked] == [4, 2]


@pytest.mark.req("TRX-06")
async def test_silence_is_told_and_comes_to_an_end(desk: Desk) -> None:
    await desk.services.running["transmit"].stop()
    desk.services.extra["COMMITMENT_WAIT_SECONDS"] = "0.2"
    await desk.services.start("transmit")
    study = await desk.study(2)
    with keeping(Keeper(report="never")) as keeper:
        silent = commitment(timeout_seconds=1, max_requests=2)
        await desk.destination("PACS", keeper.port, **silent)
        job = await desk.until(await desk.send("PACS", study), "FAILED")
        assert job["reason"] == "CommitmentTimeout"
        assert len(keeper.stored) == 4
    assert len(desk.logged("commitment.expired")) == 2


async def test_killed_before_the_report_it_asks_again(desk: Desk) -> None:
    """F3: after N-ACTION, before N-EVENT-REPORT."""
    study = await desk.study(2)
    with keeping(Keeper(report="never")) as keeper:
        await desk.destination("PACS", keeper.port, **commitment())
        job_id = await desk.send("PACS", study)
        await desk.until(job_id, "SENT", where=lambda row: row["commitment"] == "asked")
        await until(lambda: keeper.asked)
        await desk.services.running["transmit"].kill()
        keeper.report = "same"
        await desk.services.start("transmit")
        await desk.until(job_id, "COMMITTED")
        assert len(keeper.stored) == 2
        assert len(keeper.asked) == 2


@pytest.mark.req("TRX-06")
async def test_orthanc_commits(desk: Desk, tmp_path: Path) -> None:
    """It reports on an association of its own, as storage commitment by DCMTK does."""
    port, report_port, http_port = free_port(), free_port(), free_port()
    await desk.services.running["transmit"].stop()
    desk.services.extra |= {"COMMITMENT_PORT": str(report_port), "COMMITMENT_HOST": LOOPBACK}
    desk.services.extra["COMMITMENT_WAIT_SECONDS"] = "0.2"
    await desk.services.start("transmit")
    config = tmp_path / "orthanc.json"
    config.write_text(
        json.dumps(
            {
                "StorageDirectory": str(tmp_path / "orthanc"),
                "IndexDirectory": str(tmp_path / "orthanc"),
                "DicomPort": port,
                "HttpPort": http_port,
                "DicomAet": "ORTHANC",
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": False,
                "Plugins": [],
                "DicomModalities": {"darkroom": ["DARKROOM", LOOPBACK, report_port]},
            }
        )
    )
    with (tmp_path / "orthanc.log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", str(config)], stdout=log, stderr=log, env=os.environ)  # noqa: ASYNC220
    try:
        study = await desk.study(6)
        slow = QUICK | {"max_attempts": 200}
        await desk.destination("ORTHANC", port, ae_title="ORTHANC", backoff=slow, **commitment())
        job_id = await desk.send("ORTHANC", study)
        await desk.until(job_id, "COMMITTED")
    finally:
        process.kill()  # it would wait for our idle association
        process.wait(20)
