"""A destination that confirms what it keeps, as it comes out of the box."""

import asyncio

import httpx
import pytest

from darkroom_local.engines.ports import LOOPBACK
from tests.e2e.user import DarkroomUp, instances
from tests.integration.transmit.keeper import Keeper, commitment, keeping
from tests.support.builders import a_data_set, encode
from tests.support.dicom_peer import send
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")
IMPLICIT = "1.2.840.10008.1.2"


@pytest.mark.req("TRX-06")
async def test_a_destination_reports_on_an_association_of_its_own(
    darkroom: DarkroomUp, client: httpx.AsyncClient
) -> None:
    image = a_data_set()
    uid = str(image.SOPInstanceUID)
    assert await asyncio.to_thread(send, darkroom.dicom_port, [(uid, encode(image))]) == {uid: 0}
    await until(lambda: instances(client, SOPInstanceUID=uid))
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

        async def came() -> bool:
            return bool((await client.get(job)).json().get("state") == "COMMITTED")

        await until(came, limit=40)
        assert (keeper.stored, keeper.asked) == ([uid], [[uid]])


async def test_what_is_made_to_be_sent_or_printed_lies_beside_the_objects(
    darkroom: DarkroomUp,
) -> None:
    scratch = darkroom.data / "scratch"
    made = {path.name.partition("-")[0] for path in scratch.iterdir()}
    assert made == {"conversion", "film", "associations"}
    assert scratch.stat().st_mode & 0o077 == 0
    await until(
        lambda: any(
            f"storage commitment on port {darkroom.commitment_port}" in line
            for line in darkroom.output
        ),
        limit=10,
    )
