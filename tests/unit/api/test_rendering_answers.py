"""What clients are sent of that which workers make: several images, objects."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from darkroom_api.dicomweb.retrieving import objects, values
from darkroom_api.http import handlers
from darkroom_api.rendering import routes
from darkroom_api.rendering.cache import Cache
from darkroom_api.rendering.rendering import DecoderFailed, Rendering
from darkroom_common.index.rows import KnownInstances, StoredInstance
from darkroom_common.workers.pool import open_workers

EXPLICIT = "1.2.840.10008.1.2.1"
SERIES = "/dicom-web/studies/1/series/2"
RLE = "application/dicom; transfer-syntax=1.2.840.10008.1.2.5"


class Reader:
    """Has objects whose decoders do what their keys say."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    async def stored(self, *_: str) -> list[StoredInstance]:
        return [
            StoredInstance(
                n, "1", "2", f"3.{n}", "4", "1.2.840.10008.1.2.1", key, 10, 0, bytes([n])
            )
            for n, key in enumerate(self.keys)
        ]


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
async def client(reader: Reader) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    objects.add(app)
    values.add(app)
    routes.add(app)
    handlers.install(app)

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {"request_id": "1"}
        await app(scope, receive, send)

    async with open_workers("tests.support.failing_renderer", str(2 << 30), processes=1) as workers:
        rendering: Any = Rendering(workers, Cache("rendered", 0), processes=1)
        settings = SimpleNamespace(public_url="http://a")
        app.state.parts = SimpleNamespace(
            reader=reader,
            rendering=rendering,
            settings=settings,
            store=None,
            known=KnownInstances(),
        )
        transport = httpx.ASGITransport(with_state)
        async with httpx.AsyncClient(transport=transport, base_url="http://a") as made:
            yield made


async def test_images_that_are_left_out_are_told_of(
    reader: Reader, client: httpx.AsyncClient
) -> None:
    reader.keys = ["good", "good"]
    whole = await client.get(f"{SERIES}/rendered")
    assert whole.content.count(b"\r\n\r\nabc") == 2
    assert "warning" not in whole.headers
    reader.keys = ["cannot", "good", "crash", "good"]
    answer = await client.get(f"{SERIES}/rendered")
    assert answer.content.count(b"\r\n\r\nabc") == 2
    assert answer.headers["warning"].startswith('299 darkroom "2 images that cannot be rendered')
    epilogue = answer.content.rpartition(b"--\r\n")[2].decode().splitlines()
    where = f"http://a{SERIES}/instances/3."
    assert epilogue == [
        "Left out:",
        f"{where}0/rendered: 406 It cannot be answered in this form: it is empty.",
        f"{where}2/rendered: 500 The decoder of this object has crashed, or took too long.",
    ]
    reader.keys = ["cannot", "cannot"]
    assert (await client.get(f"{SERIES}/rendered")).status_code == 406


async def test_an_answer_that_begins_early_says_that_some_may_be_left_out(
    reader: Reader, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "_LOOK_BYTES", 10)
    reader.keys = ["good", "good", "cannot"]
    answer = await client.get(f"{SERIES}/rendered")
    assert answer.content.count(b"\r\n\r\nabc") == 2
    assert answer.headers["warning"].startswith('299 darkroom "Images that cannot be rendered')
    assert b"3.2/rendered: 406" in answer.content.rpartition(b"--\r\n")[2]


async def test_objects_are_sent_while_they_are_made(
    reader: Reader, client: httpx.AsyncClient
) -> None:
    reader.keys = ["good", "good"]
    accept = {"accept": f'multipart/related; type="application/dicom"; {RLE.partition("; ")[2]}'}
    for _ in range(3):  # with the only worker
        answer = await client.get(SERIES, headers=accept)
        assert answer.status_code == 200, answer.text
        assert answer.content.count(b"\r\n\r\nabc") == 2
    reader.keys = ["good"]
    for _ in range(3):
        answer = await client.get(f"{SERIES}/instances/3", headers={"accept": RLE})
        assert answer.content == b"abc"
    reader.keys = ["crash"]
    answer = await client.get(f"{SERIES}/instances/3", headers={"accept": RLE})
    assert (answer.status_code, answer.json()["code"]) == (500, 5001)


async def test_frames_are_sent_while_they_are_made(
    reader: Reader, client: httpx.AsyncClient
) -> None:
    accept = {"accept": "multipart/related; type=image/dicom-rle"}
    url = f"{SERIES}/instances/3/frames/1,2,3"
    reader.keys = ["good"]
    for _ in range(3):  # with the only worker
        answer = await client.get(url, headers=accept)
        assert answer.status_code == 200, answer.text
        assert answer.content.count(b"\r\n\r\nabc") == 3
    reader.keys = ["crash-later"]
    with pytest.raises(DecoderFailed):  # which a server makes the end of the connection
        await client.get(url, headers=accept)
    reader.keys = ["good"]
    assert (await client.get(url, headers=accept)).status_code == 200
