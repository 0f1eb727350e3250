"""A destination that confirms what it keeps, as it comes out of the box."""

import asyncio

import httpx
import pytest

from darkroom_local.engines.ports import LOOPBACK
from tests.e2e.user import DarkroomUp, instances
from tests.integration.transmit.keeper import Keeper, commitment, keeping
from tests.support.builders import a_data_set, encode
from tests.support.dicom_peer import send

pytestmark = pytest.mark.asyncio(loop_scope="module")
IMPLICIT = "1.2.840.10008.1.2"


@pytest.mark.req("TRX-06")
async def test_a_destination_reports_on_an_association_of_its_own(
    darkroom: DarkroomUp, client: httpx.AsyncClient
) -> None:
    image = a_data_set()
    uid = str(image.SOPInstanceUID)
    assert await asyncio.to_thread(send, darkroom.dicom_port, [(uid, encode(image))]) == {uid: 0}
    async with asyncio.timeout(20):
        while not await instances(client, SOPInstanceUID=uid):
            await asyncio.sleep(0.05)
    with keeping(Keeper(report="new", report_port=darkroom.commitment_port)) as keeper:
        destination = {
            "name": "PACS",
            "ae_title": "PACS",
            "host": LOOPBACK,
            "port": keeper.port,
            "transfer_syntaxes": [IMPLICIT],
            **commitment(),
        }
        (await client.post("/api/v1/destinations", json=destination)).raise_for_status()
        asked = {"destination": "PACS", "study_instance_uid": str(image.StudyInstanceUID)}
        answer = await client.post("/api/v1/transmit/jobs", json=asked)
        assert answer.status_code == 202, answer.text
        job = f"/api/v1/transmit/jobs/{answer.json()['job_id']}"
        async with asyncio.timeout(40):
            while (await client.get(job)).json().get("state") != "COMMITTED":
                await asyncio.sleep(0.1)
        assert (keeper.stored, keeper.asked) == ([uid], [[uid]])


async def test_what_is_made_to_be_sent_or_printed_lies_beside_the_objects(
    darkroom: DarkroomUp,
) -> None:
    scratch = darkroom.data / "scratch"
    assert {path.name.partition("-")[0] for path in scratch.iterdir()} == {"conversion", "film"}
    assert scratch.stat().st_mode & 0o077 == 0
    async with asyncio.timeout(10):
        while not any(
            f"storage commitment on port {darkroom.commitment_port}" in line
            for line in darkroom.output
        ):
            await asyncio.sleep(0.02)
