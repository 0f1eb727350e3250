"""The store in a bucket when the way to it is bad, the store lies, or the process dies."""

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from darkroom_common.errors import ConfigurationError
from darkroom_common.objects.s3 import client as client_module
from darkroom_common.objects.s3.uploads import PART
from darkroom_common.objects.store import ObjectMissing, ObjectStore, StoreUnavailable, open_store
from tests.support import s3
from tests.support.certificates import Authority
from tests.support.waiting import LIMIT

SOON = "&attempts=2&seconds=3"
CONTENT = bytes(range(256)) * 2048  # 512 KiB
LARGE = CONTENT * 36  # 18 MiB: three parts
UNAVAILABLE = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
)


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Server]:
    with s3.moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Server]:
    with s3.seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture
def way(moto: s3.Server) -> Iterator[s3.Way]:
    with s3.way_to(moto) as way:
        yield way


@pytest.fixture
def store(moto: s3.Server, way: s3.Way, tmp_path: Path) -> ObjectStore:
    """Return a store that has tried whether it may overwrite."""
    made = open_store(moto.url(tmp_path.name, port=way.port, more=SOON))
    made.put_now("first", [b"x"])
    way.requests.clear()
    hang_up(made)
    return made


def hang_up(store: Any) -> None:
    """Have the next request make a connection."""
    store._client._client.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "receipt"
    path.write_bytes(CONTENT)
    return path


async def keys(store: ObjectStore) -> list[str]:
    return [one.key async for one in store.list_keys()]


async def test_an_upload_that_was_cut_off_is_repeated(
    store: ObjectStore, way: s3.Way, file: Path
) -> None:
    way.up = [200_000]
    await store.put_files([("key", file)])
    assert await store.read("key") == CONTENT
    assert not way.up


async def test_uploads_that_are_always_cut_off_leave_nothing(
    store: ObjectStore, way: s3.Way, file: Path
) -> None:
    way.up = [200_000] * 4
    with pytest.raises(StoreUnavailable):
        await store.put_files([("key", file)])
    way.up.clear()
    assert await keys(store) == ["first"]
    await store.put_files([("key", file)])
    assert await store.read("key") == CONTENT


async def test_an_answer_that_was_lost_is_no_conflict(
    store: ObjectStore, way: s3.Way, file: Path
) -> None:
    way.down = [60]  # 100 Continue passes, what became of it does not
    await store.put_files([("key", file)])
    assert await store.read("key") == CONTENT
    assert sum(one.startswith("PUT") for one in way.requests) >= 2


@pytest.mark.parametrize("answer", UNAVAILABLE)
async def test_a_server_that_is_busy_is_asked_again_and_not_for_ever(
    store: ObjectStore, way: s3.Way, file: Path, answer: bytes
) -> None:
    way.sayings = [answer]
    await store.put_files([("key", file)])
    hang_up(store)
    way.sayings = [answer] * 2
    with pytest.raises(StoreUnavailable):
        await store.read("key")
    assert not way.sayings
    assert await store.read("key") == CONTENT


async def test_a_server_that_says_nothing_costs_a_bounded_time(
    store: ObjectStore, way: s3.Way, file: Path
) -> None:
    way.pause.clear()
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await store.put_files([("key", file)])
    assert time.monotonic() - began < LIMIT  # two tries of three seconds each
    way.pause.set()
    await store.put_files([("key", file)])
    assert await store.read("key") == CONTENT


async def test_reading_goes_on_where_a_connection_was_cut(store: ObjectStore, way: s3.Way) -> None:
    store.put_now("large", [LARGE])
    hang_up(store)
    way.requests.clear()
    way.down = [3_000_000, 5_000_000]
    assert b"".join([chunk async for chunk in store.stream("large")]) == LARGE
    assert len([one for one in way.requests if one.startswith("GET")]) == 3


async def test_an_answer_with_another_checksum_is_not_believed(
    store: ObjectStore, way: s3.Way, file: Path
) -> None:
    way.sayings = [
        b'HTTP/1.1 200 OK\r\nETag: "00000000000000000000000000000000"\r\nContent-Length: 0\r\n'
        b"x-amz-checksum-sha256: " + b"A" * 43 + b"=\r\nConnection: close\r\n\r\n"
    ]
    with pytest.raises(StoreUnavailable, match="not what was sent"):
        await store.put_files([("key", file)])
    assert file.read_bytes() == CONTENT
    with pytest.raises(ObjectMissing):
        await store.size("key")


async def test_a_store_that_tells_no_checksum_is_read_back(
    store: ObjectStore, way: s3.Way, file: Path
) -> None:
    way.sayings = [
        b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'
    ]
    with pytest.raises(ObjectMissing):  # it has said yes, and there is nothing
        await store.put_files([("key", file)])
    assert [one.split()[0] for one in way.requests] == ["GET"]


async def test_a_store_that_overwrites_is_found_out_and_asked_first(
    moto: s3.Server, way: s3.Way, file: Path, tmp_path: Path
) -> None:
    way.replaced = (b"If-None-Match", b"X-Not-Matched")  # of the same length
    store = open_store(moto.url(tmp_path.name, port=way.port, more=SOON))
    store.put_now("key", [b"first"])
    store.put_now("key", [b"second"])
    await store.put_files([("key", file)])
    assert await store.read("key") == b"first"


def die_at_upload(url: str) -> None:
    """Kill a process that has sent the first of several parts."""
    program = (
        "import sys; from darkroom_common.objects.store import open_store\n"
        f"def pieces():\n    yield bytes({PART})\n    yield bytes({PART})\n"
        "    print('half', flush=True)\n    sys.stdin.read()\n"
        f"open_store({url!r}).put_now('key', pieces())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        assert process.stdout.readline() == "half\n"
        process.kill()
        process.wait(10)


async def test_a_killed_upload_is_no_object_and_is_swept(
    seaweed: s3.Server, tmp_path: Path
) -> None:
    store = open_store(seaweed.url(tmp_path.name, more=SOON))
    await asyncio.to_thread(die_at_upload, seaweed.url(tmp_path.name))
    assert await keys(store) == []
    now = datetime.now(UTC)
    assert await store.forget_drafts(begun_before=now - timedelta(hours=1)) == 0
    assert await store.forget_drafts(begun_before=now + timedelta(hours=1)) == 1
    assert await store.forget_drafts(begun_before=now + timedelta(hours=1)) == 0
    store.put_now("key", [LARGE])
    assert await store.read("key") == LARGE


async def test_a_large_upload_that_fails_gives_its_parts_up(
    moto: s3.Server, store: ObjectStore, way: s3.Way
) -> None:
    def pieces() -> Iterator[bytes]:
        yield LARGE
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.put_now("key", pieces())
    assert await store.forget_drafts(begun_before=datetime.now(UTC) + timedelta(hours=1)) == 0
    assert await keys(store) == ["first"]


async def test_what_each_thing_costs_in_requests(
    store: ObjectStore, way: s3.Way, file: Path, tmp_path: Path
) -> None:
    """The table in docs/store.md."""
    large = tmp_path / "large"
    large.write_bytes(LARGE)

    def taken() -> list[str]:
        found = [one.split()[0] for one in way.requests]
        way.requests.clear()
        return found

    await store.put_files([("key", file)])
    assert taken() == ["PUT"]
    await store.put_files([("key", file)])
    assert taken() == ["PUT", "HEAD", "PUT"]
    await store.put_files([("large", large)])
    assert taken() == ["HEAD", "POST", "PUT", "PUT", "PUT", "POST"]
    with await asyncio.to_thread(store.open_now, "key") as header:
        header.read(1000)
        assert taken() == ["GET"]
    store.parts_now("large", [(1000, 500_000), (501_000, 500_000)])
    assert taken() == ["GET"]
    await store.read("key")
    assert taken() == ["GET"]
    assert await keys(store) == ["first", "key", "large"]
    assert taken() == ["GET"]
    await store.remove("key", untouched_since=datetime.now(UTC) + timedelta(hours=1))
    assert taken() == ["HEAD", "DELETE", "GET"]


async def test_keys_are_taken_from_their_file_as_it_changes_and_are_told_nowhere(
    seaweed: s3.Server,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(client_module, "_LOOK_AGAIN_SECONDS", 0.0)
    caplog.set_level(logging.DEBUG)
    right = seaweed.credentials.read_text()
    file = tmp_path / "credentials"
    file.write_text(right.replace("planted-secret", "another-secret"))
    store = open_store(replace(seaweed, credentials=file).url(tmp_path.name, more=SOON))
    with pytest.raises(StoreUnavailable, match="SignatureDoesNotMatch"):
        await store.read("key")
    file.write_text(right)
    store.put_now("key", [b"content"])
    assert await store.read("key") == b"content"
    file.unlink()
    with pytest.raises(StoreUnavailable):
        await store.read("key")
    assert "-secret" not in caplog.text
    assert "planted-id" not in caplog.text


async def test_a_server_is_known_by_its_authority(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.sign("localhost")
    with s3.moto(tmp_path, tls=(pair, authority.file)) as server:
        store = open_store(server.url("tls", more=f"{SOON}&authority={authority.file}"))
        store.put_now("key", [b"content"])
        assert await store.read("key") == b"content"
        with pytest.raises(StoreUnavailable, match="SSLError"):
            await open_store(server.url("tls", more=SOON)).read("key")


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3://planted:planted@bucket/",
        "s3://bucket/a/../b",
        "s3://bucket?secret=planted",
        "s3://bucket?endpoint=planted",
        "s3://bucket?endpoint=https://planted:planted@host",
        "s3://bucket?credentials=planted",
        "s3://bucket?addressing=planted",
        "s3://bucket?seconds=0",
        "s3://bucket?attempts=planted",
        "s3://bucket?planted",
        "s3://bucket#planted",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_in_words_without_a_secret(url: str) -> None:
    with pytest.raises(ConfigurationError, match="STORE_URL") as caught:
        open_store(url)
    assert "planted" not in str(caught.value)
