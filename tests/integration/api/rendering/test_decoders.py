"""Decoders that are killed, or hang: their object is not answered, all others are."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from pydicom.dataset import Dataset

from tests.integration.api.conftest import Api
from tests.support.builders import a_data_set
from tests.support.waiting import until

RENDERED = "/rendered", "image/jpeg"
FRAMES = "/frames/1", "multipart/related; type=image/jls"
OBJECT = "", "application/dicom; transfer-syntax=1.2.840.10008.1.2.5"


def url_of(one: Dataset) -> str:
    return (
        f"/dicom-web/studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}"
        f"/instances/{one.SOPInstanceUID}"
    )


def decoders(api: Api) -> list[int]:
    """Return the processes that render."""
    process = api.services.running["api"].process
    assert process is not None
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [
        pid
        for pid in map(int, children.split())
        if b"darkroom_api.rendering.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def stuck(api: Api) -> int | None:
    """Return the decoder that has come to opening a pipe that nobody writes to, if one has."""
    for pid in decoders(api):
        waits = Path(f"/proc/{pid}/wchan").read_text()
        if "fifo" in waits or "wait_for_partner" in waits:
            return pid
    return None


@contextmanager
def endless(path: Path) -> Iterator[None]:
    """Let an object be one that no decoder comes to the end of, for the length of a block."""
    aside = path.with_suffix(".aside")
    path.rename(aside)
    os.mkfifo(path)
    yield
    path.unlink()
    aside.rename(path)


async def two_objects(api: Api) -> tuple[Dataset, Path, Dataset]:
    """Store one, which is in that file, and another."""
    one, other = a_data_set(), a_data_set()
    await api.seed.add(one)
    (path,) = api.services.store.rglob("*.dcm")
    await api.seed.add(other)
    return one, path, other


async def get(api: Api, one: Dataset, what: tuple[str, str], query: str = "") -> httpx.Response:
    headers = {"accept": what[1]}
    return await api.client.get(url_of(one) + what[0] + query, headers=headers, timeout=60)


@pytest.mark.parametrize("what", [RENDERED, FRAMES, OBJECT])
async def test_a_decoder_that_is_killed_is_500_for_its_object_alone(
    api: Api, what: tuple[str, str]
) -> None:
    one, path, other = await two_objects(api)
    with endless(path):
        asked = asyncio.create_task(get(api, one, what))
        worker = await until(lambda: stuck(api))
        for quality in range(1, 4):
            assert (await get(api, other, RENDERED, f"?quality={quality}")).status_code == 200
        assert not asked.done()
        os.kill(worker, signal.SIGKILL)
        answer = await asked
    assert (answer.status_code, answer.json()["code"]) == (500, 5001), answer.text
    for each in (one, other):
        assert (await get(api, each, what, "?again=1")).status_code == 200
    assert worker not in decoders(api)


async def test_decoders_that_are_killed_while_they_wait_are_replaced(api: Api) -> None:
    one, _, other = await two_objects(api)
    for quality in range(1, 6):
        asked = [get(api, each, RENDERED, f"?quality={quality}") for each in (one, other)]
        assert {each.status_code for each in await asyncio.gather(*asked)} == {200}
        for worker in decoders(api):
            os.kill(worker, signal.SIGKILL)


async def test_a_decoder_that_hangs_is_500_for_its_object_and_replaced(api: Api) -> None:
    one, path, other = await two_objects(api)
    with endless(path):
        asked = asyncio.create_task(get(api, one, RENDERED))
        worker = await until(lambda: stuck(api))
        for quality in range(1, 4):
            assert (await get(api, other, RENDERED, f"?quality={quality}")).status_code == 200
        assert not asked.done()
        answer = await asked
    assert (answer.status_code, answer.json()["code"]) == (500, 5001), answer.text
    assert worker not in decoders(api)
    assert (await get(api, one, RENDERED)).status_code == 200


async def test_what_a_decoder_can_do_is_documented(api: Api) -> None:
    paths = (await api.client.get("/openapi.json")).json()["paths"]
    instance = "/dicom-web/studies/{study}/series/{series}/instances/{instance}"
    for path in ("", "/rendered", "/thumbnail", "/frames/{frames}", "/frames/{frames}/rendered"):
        assert {"406", "500", "503"} <= set(paths[instance + path]["get"]["responses"]), path
