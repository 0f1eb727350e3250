"""What anybody may take of a running API before it knows who asks."""

import asyncio
import os
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import orjson
import pytest

from darkroom_common.clock import monotonic
from tests.integration.api.conftest import Api
from tests.support.http_line import Client

MIB = 1 << 20
HOST = b"Host: darkroom\r\n"
HELD = (
    b"",
    b"GET /livez HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 30_000,
    b"POST /api/v1/auth/login HTTP/1.1\r\n" + HOST + b"Content-Length: 60000\r\n\r\n{",
    b"POST /api/v1/auth/login HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{",
)
ENDLESS = (
    b"GET /livez HTTP/1.1\r\n" + HOST,
    b"POST /api/v1/auth/login HTTP/1.1\r\n"
    + HOST
    + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1;",
)


def memory_of(api: Api) -> int:
    """Return the bytes of memory that the process of the API has."""
    process = api.services.running["api"].process
    assert process is not None
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def opened(api: Api, address: str) -> Client:
    """Connect from an address of this machine."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", api.services.http_port, local_addr=(address, 0)
    )
    return Client(reader, writer)


@pytest.mark.timeout(240)
async def test_a_crowd_that_nobody_knows_takes_little_and_not_for_long(api: Api) -> None:
    before = memory_of(api)
    crowd = [await opened(api, f"127.0.4.{1 + n % 4}") for n in range(300)]
    ended = [asyncio.create_task(one.rest()) for one in crowd]
    began = monotonic()
    for number, one in enumerate(crowd):
        await one.send(HELD[number % len(HELD)])
    for _ in range(20):
        assert (await api.client.get("/api/v1/auth/me")).status_code == 200
    assert memory_of(api) - before < 80 * MIB
    for task in ended:
        await asyncio.wait({task}, timeout=max(0.1, 30 - (monotonic() - began)))
    assert all(task.done() for task in ended)
    for one in crowd:
        one.writer.close()


@pytest.mark.parametrize("start", ENDLESS)
async def test_96_mib_of_headers_are_not_kept(api: Api, start: bytes) -> None:
    before = memory_of(api)
    crowd = [await opened(api, f"127.0.5.{1 + n % 4}") for n in range(24)]
    piece = b"Some-Field: " + b"a" * 500 + b"\r\n"

    async def flood(one: Client) -> None:
        await one.send(start)
        for _ in range(16):
            await one.send(piece * 512)

    await asyncio.gather(*map(flood, crowd))
    assert memory_of(api) - before < 60 * MIB
    for one in crowd:
        assert (await one.rest())[9:12] in {b"431", b"400", b""}
        one.writer.close()
    assert (await api.client.get("/api/v1/auth/me")).status_code == 200


async def curl(url: str, *options: str, body: bytes) -> str:
    """Ask as curl does; return the status and the code of the problem."""
    process = await asyncio.create_subprocess_exec(
        *("/usr/bin/curl", "-sS", "-m", "20", "-w", " %{http_code}", "-X", "POST", *options),
        *("-H", "Expect:", "--data-binary", "@-", url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await process.communicate(body)
    assert process.returncode == 0, told
    text, _, status = told.decode().rpartition(" ")
    return f"{status} {orjson.loads(text)['code']}"


def blocking(url: str, path: str, headers: dict[str, str], body: bytes) -> str:
    """Ask as a client does that sends all before it reads."""
    line = HTTPConnection(url.removeprefix("http://"), timeout=20)
    line.request("POST", path, body, headers)
    answer = line.getresponse()
    text = answer.read()
    line.close()
    return f"{answer.status} {orjson.loads(text)['code']}"


async def test_what_is_refused_before_its_body_is_read_is_answered_to_any_client(api: Api) -> None:
    body, json, text = bytes(12 * MIB), "application/json", "text/plain"
    known = f"Bearer {api.tokens['access_token']}"
    for path, headers, told in (
        ("/api/v1/auth/login", {"content-type": text}, "415 4007"),
        ("/api/v1/auth/login", {"content-type": json}, "413 4006"),
        ("/api/v1/users", {"content-type": json}, "401 1003"),
        ("/api/v1/users", {"content-type": text, "authorization": known}, "415 4007"),
        ("/dicom-web/studies", {"content-type": "multipart/related"}, "401 1003"),
    ):
        options = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
        assert await curl(f"{api.url}{path}", *options, body=body) == told, path
        assert await asyncio.to_thread(blocking, api.url, path, headers, body) == told, path
        answer = await api.anonymous.post(path, headers=headers, content=body)
        assert f"{answer.status_code} {answer.json()['code']}" == told


REFUSED: dict[bytes, int] = {
    b"GET /livez HTTP/1.1\r\n\r\n": 400,
    b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n": 400,
    b"GET /livez HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n": 400,
    b"GET /livez HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n": 400,
    b"GET /livez HTTP/1.1\nHost: a\n\n" + b"\r\n\r\n": 400,
    b"GET  /livez HTTP/1.1\r\nHost: a\r\n\r\n": 400,
    b"POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n": 400,
    b"GET /livez HTTP/9.9\r\nHost: a\r\n\r\n": 505,
    b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n": 414,
    b"TRACE /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n": 414,
}


@pytest.mark.req("API-10")
async def test_what_is_no_request_is_a_problem_of_the_contract(
    api: Api, connect: Callable[..., Any]
) -> None:
    for request, status in REFUSED.items():
        client = await connect(api.services.http_port)
        await client.send(request)
        answer = await client.rest()
        assert answer.startswith(b"HTTP/1.1 %d " % status), request
        assert b"application/problem+json" in answer
        assert b'"request_id"' in answer
        assert b"x-frame-options" not in answer.lower() or b"DENY" not in answer
    assert (await api.client.get("/livez")).headers["x-frame-options"] == "SAMEORIGIN"
