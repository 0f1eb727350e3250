"""The reserve of the spool's volume: below it nothing is taken, and that is told."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.integration.ingest.real import CONTEXTS
from tests.support.builders import CT, a_data_set, encode
from tests.support.dicom_peer import Association
from tests.support.services import Services, declare_index_queue
from tests.support.waiting import until


@pytest.mark.req("ING-07")
async def test_below_the_reserve_objects_are_refused_and_ingest_is_not_ready(
    tmp_path: Path, amqp_url: str
) -> None:
    await declare_index_queue(amqp_url)
    services = Services(tmp_path, "postgresql://nobody@127.0.0.1:1/none", amqp_url)
    services.extra = {"RESERVE_BYTES": str(1 << 60), "PROCESSES": "1"}
    try:
        ingest = await services.begin("ingest")

        async def answers() -> tuple[int, str] | None:
            status, body = await asyncio.to_thread(ingest.probe, "/readyz")
            return (status, body) if status and "spool" in json.loads(body)["checks"] else None

        status, body = await until(answers)
        assert status == 503
        spool = json.loads(body)["checks"]["spool"]
        assert spool == {"ok": False, "reason": "the reserve of the spool's volume is reached"}
        assert (await asyncio.to_thread(ingest.probe, "/livez"))[0] == 200

        def store() -> int:
            image = a_data_set()
            with Association(services.dicom_port, CONTEXTS) as peer:
                return peer.store(1, CT, str(image.SOPInstanceUID), encode(image))

        assert await asyncio.to_thread(store) == 0xA700

        async def counted() -> str | None:
            _, metrics = await asyncio.to_thread(ingest.probe, "/metrics")
            refused = 'darkroom_store_responses_total{status="A700"} 1.0'
            return metrics if refused in metrics else None

        metrics = await until(counted)  # the workers report once a second
        assert 'darkroom_storage_free_bytes{volume="spool"}' in metrics
        assert list(services.spool.joinpath("ready").iterdir()) == []
    finally:
        await services.stop()
