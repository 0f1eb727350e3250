"""Decoders that are killed, and every sample file: 5xx for what was killed, for nothing else."""

import asyncio
import os
import signal
import warnings
from pathlib import Path

from darkroom_common.dicom.stored import stored_file
from darkroom_common.dicom.walk import Unreadable
from tests.integration.api.conftest import Api
from tests.support.builders import a_data_set, new_uid
from tests.support.real_files import REAL_FILES


def workers_of(api: Api) -> list[int]:
    """Return the processes that render."""
    process = api.services.running["api"].process
    assert process is not None
    task = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    children = [int(pid) for pid in task.read_text().split()]
    return [
        pid
        for pid in children
        if b"darkroom_api.rendering.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


async def test_a_worker_that_is_killed_is_500_for_its_object_alone(api: Api) -> None:
    one, two = a_data_set(), a_data_set()
    await api.seed.add(one, two)
    urls = [
        f"/dicom-web/studies/{each.StudyInstanceUID}/series/{each.SeriesInstanceUID}/rendered"
        for each in (one, two)
    ]
    assert (await api.client.get(f"{urls[0]}?quality=1")).status_code == 200
    (worker,) = workers_of(api)
    os.kill(worker, signal.SIGSTOP)
    asked = asyncio.create_task(api.client.get(f"{urls[0]}?quality=2"))
    for quality in range(3, 8):  # the other one serves
        url = f"{urls[1]}?quality={quality}"
        assert (await api.client.get(url)).status_code == 200
    assert not asked.done()
    os.kill(worker, signal.SIGKILL)
    answer = await asked
    assert answer.status_code == 500
    assert answer.json()["code"] == 5001
    for quality in range(10, 15):
        answers = [api.client.get(f"{url}?quality={quality}") for url in urls]
        assert {each.status_code for each in await asyncio.gather(*answers)} == {200}


async def test_no_sample_file_is_5xx(api: Api) -> None:
    shown = tried = 0
    for path in REAL_FILES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with path.open("rb") as file, stored_file(file) as (stored, meta):
                    header = stored.data_set(stop_at=frozenset({0x7FE00010})).data_set
                    body = path.read_bytes()[-(path.stat().st_size - stored.start) :]
                    syntax = meta.transfer_syntax_uid
                    if stored.inflated or not header.get("SOPClassUID"):
                        continue
            except (Unreadable, OSError, ValueError):
                continue
            one = a_data_set(SOPInstanceUID=new_uid())
            one.SOPClassUID = header.SOPClassUID
            await api.seed.add(one, transfer_syntax=syntax, encoded=body, readable=False)
        url = (
            f"/dicom-web/studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}"
            f"/instances/{one.SOPInstanceUID}"
        )
        frames = "multipart/related; type=application/octet-stream"
        for path_of, accept in (
            ("/rendered", "image/jpeg"),
            ("/frames/1", frames),
            ("", "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"),
        ):
            answer = await api.client.get(url + path_of, headers={"accept": accept})
            assert answer.status_code in {200, 404, 406}, (path.name, path_of, answer.text)
            tried += 1
            shown += path_of == "/rendered" and answer.status_code == 200
    assert tried > 500
    assert shown > 150
