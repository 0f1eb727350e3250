"""The whole house with its objects in a bucket (SeaweedFS), also while that is away."""

import asyncio
from pathlib import Path

import pytest

from tests.integration.print.pictures import a_series
from tests.integration.test_whole_house import at_work
from tests.support import s3
from tests.support.builders import encode
from tests.support.dicom_peer import send
from tests.support.services import Services
from tests.support.waiting import until


@pytest.mark.req("STO-02")
async def test_objects_in_a_bucket_are_sent_printed_and_shown_and_its_absence_loses_none(
    services: Services, tmp_path: Path
) -> None:
    with s3.seaweed(tmp_path) as server, s3.way_to(server) as way:
        url = server.url("images", port=way.port, more="&attempts=2&seconds=5")
        services.extra["STORE_URL"] = url
        async with at_work(services) as house:
            await house.works()
            (image,) = a_series(1)
            uid = str(image.SOPInstanceUID)
            way.close()
            sent = await asyncio.to_thread(send, services.dicom_port, [(uid, encode(image))])
            assert sent == {uid: 0}  # durable in the spool
            assert list((services.spool / "ready").iterdir())
            way.closed = False
            study = f"/dicom-web/studies/{image.StudyInstanceUID}"
            instance = f"{study}/series/{image.SeriesInstanceUID}/instances/{uid}"

            async def answers(path: str, kind: str) -> bytes | None:
                found = await house.api.client.get(path, headers={"Accept": kind})
                return found.content if found.status_code == 200 else None

            raw = 'multipart/related; type="application/octet-stream"'
            frame = await until(lambda: answers(f"{instance}/frames/1", raw), limit=60)
            assert image.PixelData.rstrip(b"\0") in frame
            assert await until(lambda: answers(f"{instance}/rendered", "image/png"))
            whole = await until(
                lambda: answers(instance, 'multipart/related; type="application/dicom"')
            )
            assert image.PixelData in whole
            await until(lambda: not list((services.spool / "ready").iterdir()))
            client = server.client()
            kept = client.list_objects_v2(Bucket=s3.BUCKET, Prefix="images/")["Contents"]
            assert sum(one["Key"].endswith(".dcm") for one in kept) == 2
            assert not list(services.store.rglob("*.dcm"))
    logs = "".join(one.read_text() for one in services.directory.glob("*.log"))
    assert "planted-secret" not in logs
    assert "planted-id" not in logs
