"""Objects: conditional requests, ranges, digests, ZIP files, HEAD, OPTIONS, capabilities."""

import base64
import hashlib
import io
import os
import re
import zipfile
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Message

from darkroom_api.dicomweb.retrieving.composite import (
    Extent,
    FromStore,
    Piece,
    batches,
    length_of,
    part_of,
)
from darkroom_common.http.exchange import ZEROCOPY
from darkroom_common.objects.store import CHUNK, FileSystemStore
from tests.support.builders import a_data_set, new_uid
from tests.support.shelf import BASE, VIEWER, Shelf, url_of
from tests.support.waiting import until

WHOLE = {"accept": "application/dicom"}
PARTS = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def parts(answer: httpx.Response) -> list[tuple[dict[str, str], bytes]]:
    """Parse a multipart answer strictly: headers in lower case, and bytes."""
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    boundary = BytesParser(policy=HTTP).parsebytes(head).get_boundary()
    assert boundary
    pieces = (b"\r\n" + answer.content).split(f"\r\n--{boundary}".encode())
    assert pieces[0] == b""
    assert pieces[-1] == b"--\r\n"
    found = []
    for piece in pieces[1:-1]:
        fields, _, body = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        lines = [line.partition(": ") for line in fields.decode().split("\r\n")]
        found.append(({name.lower(): value for name, _, value in lines}, body))
    return found


@pytest.mark.req("API-11")
async def test_an_instance_is_answered_conditionally_and_by_ranges(shelf: Shelf) -> None:
    data_set = a_data_set()
    whole = shelf.add(data_set)
    url, get = url_of(data_set), shelf.client.get
    first = await get(url, headers=WHOLE)
    assert first.content == whole
    etag = first.headers["etag"]
    assert first.headers["accept-ranges"] == "bytes"
    assert (await get(url, headers={**WHOLE, "if-none-match": etag})).status_code == 304
    assert (await get(url, headers={**WHOLE, "if-none-match": '"other"'})).status_code == 200
    for named, status in ((etag, 200), ("*", 200), ('"other"', 412), (f'"other", {etag}', 200)):
        assert (await get(url, headers={**WHOLE, "if-match": named})).status_code == status
        head = await shelf.client.head(f"{url}/metadata", headers={"if-match": named})
        assert head.status_code == (412 if named != "*" else 200)
        drawn = await get(f"{url}/rendered", headers={"if-match": '"other"'})
        assert drawn.status_code == 412
    size = len(whole)
    for asked, status, content in (
        ("bytes=0-9", 206, whole[:10]),
        ("bytes=-4", 206, whole[-4:]),
        (f"bytes={size - 1}-", 206, whole[-1:]),
        (f"bytes={size}-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=9-5", 200, whole),
        ("bytes=x", 200, whole),
        ("lines=1-2", 200, whole),
        ("bytes=" + ",".join(["0-1"] * 40), 200, whole),
        ("bytes=0-,0-", 200, whole),
    ):
        answer = await get(url, headers={**WHOLE, "range": asked})
        assert answer.status_code == status, asked
        if content is not None:
            assert answer.content == content, asked
        else:
            assert answer.headers["content-range"] == f"bytes */{size}"
    several = await get(url, headers={**WHOLE, "range": "bytes=0-3, 128-131, -2"})
    assert several.status_code == 206
    assert several.headers["content-type"].startswith("multipart/byteranges")
    found = parts(several)
    assert [body for _, body in found] == [whole[:4], b"DICM", whole[-2:]]
    assert found[1][0]["content-range"] == f"bytes 128-131/{size}"
    assert found[1][0]["content-type"] == first.headers["content-type"]
    for tag, status in ((etag, 206), ('"other"', 200)):
        headers = {**WHOLE, "range": "bytes=0-3", "if-range": tag}
        assert (await get(url, headers=headers)).status_code == status


async def test_a_multipart_answer_is_the_same_again_and_can_be_continued(shelf: Shelf) -> None:
    study = new_uid()
    many = [
        a_data_set(StudyInstanceUID=study, PixelData=bytes([n]) * (CHUNK // 2)) for n in (1, 2, 3)
    ]
    stored = [shelf.add(one) for one in many]
    url, get = url_of(many[0], "study"), shelf.client.get
    whole = await get(url, headers={"accept": PARTS})
    assert [body for _, body in parts(whole)] == stored
    where = [head["content-location"] for head, _ in parts(whole)]
    assert where == [BASE + url_of(one) for one in many]
    assert int(whole.headers["content-length"]) == len(whole.content)
    half = len(whole.content) // 2
    headers = {"accept": PARTS, "range": f"bytes={half}-", "if-range": whole.headers["etag"]}
    rest = await get(url, headers=headers)
    assert whole.content[:half] + rest.content == whole.content


@pytest.mark.parametrize(
    ("header", "value", "name", "algorithm"),
    [
        ("want-repr-digest", "sha-256=10", "repr-digest", "sha256"),
        ("want-repr-digest", "sha-512=3, sha-256=1, md5=10", "repr-digest", "sha512"),
        ("want-digest", "SHA-256;q=0.3", "digest", "sha256"),
    ],
)
async def test_digests(shelf: Shelf, header: str, value: str, name: str, algorithm: str) -> None:
    data_set = a_data_set()
    whole = shelf.add(data_set)
    asked = {**WHOLE, header: value, "range": "bytes=0-3"}
    answer = await shelf.client.get(url_of(data_set), headers=asked)
    digest = base64.b64encode(hashlib.new(algorithm, whole).digest()).decode()
    said = algorithm.replace("sha", "sha-")
    expected = f"{said}=:{digest}:" if name == "repr-digest" else f"{said}={digest}"
    assert answer.headers[name] == expected  # of all of it, though a part is answered
    plain = await shelf.client.get(url_of(data_set), headers={**WHOLE, header: "md5, sha-256=0"})
    assert name not in plain.headers


async def test_a_study_as_a_zip_file(shelf: Shelf) -> None:
    study, series = new_uid(), new_uid()
    many = [
        a_data_set(StudyInstanceUID=study, SeriesInstanceUID=series, PixelData=bytes(2 * CHUNK)),
        a_data_set(StudyInstanceUID=study, SeriesInstanceUID=series),
        a_data_set(StudyInstanceUID=study),
    ]
    stored = [shelf.add(one) for one in many]
    zipped = {"accept": "application/zip"}
    answer = await shelf.client.get(url_of(many[0], "study"), headers=zipped)
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as file:
        assert file.testzip() is None
        assert [file.read(name) for name in file.namelist()] == stored
        folders = [name.partition("/")[0] for name in file.namelist()]
        assert folders == ["series-0001", "series-0001", "series-0002"]
        assert "PLANTED" not in str(file.namelist())
    again = {**zipped, "if-none-match": answer.headers["etag"]}
    assert (await shelf.client.get(url_of(many[0], "study"), headers=again)).status_code == 304
    for accept, status in (
        ("application/zip; transfer-syntax=1.2.840.10008.1.2.1", 200),
        ("application/zip; transfer-syntax=1.2.840.10008.1.2.4.90", 406),
        ("application/zip; q=0.5, " + PARTS, 200),
    ):
        answer = await shelf.client.get(url_of(many[0], "series"), headers={"accept": accept})
        assert answer.status_code == status, accept
    assert answer.headers["content-type"].startswith("multipart/related")


async def test_head_is_get_without_a_body(shelf: Shelf) -> None:
    data_set = a_data_set(Rows=512, Columns=512, PixelData=bytes(1 << 18))
    big = a_data_set(PixelData=bytes(5 * CHUNK))
    shelf.add(data_set)
    shelf.add(big)
    for path, accept in (
        (url_of(data_set), "application/dicom"),
        (url_of(data_set), PARTS),
        (url_of(data_set), "application/zip"),
        (url_of(big), "application/dicom"),
        (url_of(data_set) + "/frames/1", "multipart/related"),
        (url_of(data_set) + "/bulkdata/7FE00010", "application/octet-stream"),
        (url_of(data_set) + "/rendered", "image/png"),
        (url_of(data_set, "series") + "/pixeldata", "multipart/related"),
        ("/dicom-web/studies/1.2.3", PARTS),
    ):
        heads = {"accept": accept}
        head, got = [
            await ask(path, headers=heads) for ask in (shelf.client.head, shelf.client.get)
        ]
        assert head.status_code == got.status_code, path
        assert head.content == b""
        if head.status_code == 200:
            assert int(head.headers.get("content-length", len(got.content))) == len(got.content)
        for name in ("etag", "content-type", "accept-ranges", "cache-control", "vary"):
            assert head.headers.get(name) == got.headers.get(name), (path, name)


async def test_other_methods_say_which_there_are(shelf: Shelf) -> None:
    path = url_of(a_data_set())
    for method, status in (("OPTIONS", 204), ("POST", 405), ("TRACE", 405)):
        answer = await shelf.client.request(method, path)
        assert answer.status_code == status
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert (await shelf.client.options("/nothing")).status_code == 404


@pytest.mark.req("API-11")
async def test_capabilities_list_every_resource(shelf: Shelf) -> None:
    for base in ("/dicom-web", "/dicom-web/"):
        answer = await shelf.client.options(base)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("application/vnd.sun.wadl+xml")
    assert answer.text.count("http://wadl.dev.java.net/2009/02") == 1
    found = dict(re.findall(r'<resource path="([^"]*)">(.*?)</resource>', answer.text))
    frames = found["studies/{study}/series/{series}/instances/{instance}/frames/{frames}"]
    kinds = set(re.findall(r'mediaType="([^"]+)"', frames))
    assert {"multipart/related", "image/jls", "application/octet-stream"} <= kinds
    assert {"wado", "studies/{study}"} <= found.keys()
    as_json = await shelf.client.options("/dicom-web/", headers={"accept": "application/json"})
    resources: list[dict[str, Any]] = as_json.json()["application"]["resources"]["resource"]
    assert {one["path"] for one in resources} == found.keys()
    refused = await shelf.client.options("/dicom-web/", headers={"accept": "text/html"})
    assert refused.status_code == 406


async def test_a_viewer_of_another_origin_may_read_what_it_needs(shelf: Shelf) -> None:
    data_set = a_data_set()
    shelf.add(data_set)
    asked = {"origin": VIEWER, "access-control-request-method": "GET"}
    preflight = await shelf.client.options(url_of(data_set), headers=asked)
    assert preflight.status_code == 204
    assert "range" in preflight.headers["access-control-allow-headers"]
    answer = await shelf.client.get(url_of(data_set), headers={**WHOLE, "origin": VIEWER})
    exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
    names = "etag content-location content-range accept-ranges digest repr-digest"
    assert set(names.split()) <= set(exposed)


def test_bodies_are_cut_anywhere_and_read_some_at_a_time() -> None:
    pieces: list[Piece] = [b"abc", Extent("k", 10, 3 * CHUNK), b"", Extent("l", 0, 5), b"de"]
    size = length_of(pieces)
    for first in (0, 2, 3, 4, CHUNK, size - 8, size - 1):
        for length in (1, 4, CHUNK, size):
            part = part_of(pieces, first, length)
            assert length_of(part) == min(length, size - first)
    assert part_of(pieces, 2, 3) == [b"c", Extent("k", 10, 2)]
    assert part_of(pieces, size - 4, 9) == [Extent("l", 3, 2), b"de"]
    some = list(batches(pieces))
    assert sum(map(length_of, some)) == size
    assert max(map(length_of, some)) <= CHUNK + 3
    few = list(batches([Extent(str(n), 0, 10) for n in range(100)], 16 * CHUNK))
    assert max(map(len, few)) <= 32 < len(few[0]) + len(few[1])


async def test_a_long_body_comes_from_memory_and_from_the_medium_alike(tmp_path: Path) -> None:
    """Some of it is open in memory, some read by a thread; no file stays open."""
    store = FileSystemStore(tmp_path)
    contents = {str(n): os.urandom(700_000) for n in range(60)}
    for key, data in contents.items():
        (tmp_path / key).write_bytes(data)
    at_hand = store.open_at_hand
    store.open_at_hand = lambda key, start, length: (  # type: ignore[method-assign]
        None if int(key) % 40 == 39 else at_hand(key, start, length)
    )
    pieces: list[Piece] = []
    for key, data in contents.items():
        pieces += [b"head of " + key.encode(), Extent(key, 0, len(data))]
    pieces.append(os.urandom(100_000))
    sent: list[bytes] = []
    kinds: set[str] = set()

    async def send(message: Message) -> None:
        kinds.add(message["type"])
        sent.append(message.get("body", b""))
        if "file" in message:
            sent.append(os.pread(message["file"], message["count"], message["offset"]))

    async def receive() -> Message:
        raise AssertionError

    async def all_closed() -> bool:  # what a thread reads that nobody waits for any more, too
        names = [os.path.realpath(one) for one in Path("/proc/self/fd").iterdir()]
        return not any(name.startswith(str(tmp_path)) for name in names)

    answer = await FromStore(200, {"content-type": "x/y"}).begin(store, pieces)
    await answer({}, receive, send)
    assert kinds == {"http.response.start", "http.response.body", ZEROCOPY}
    whole = [one if isinstance(one, bytes) else contents[one.key] for one in pieces]
    assert b"".join(sent) == b"".join(whole)

    async def gone(message: Message) -> None:
        if "file" in message:
            raise ConnectionResetError

    answer = await FromStore(200, {"content-type": "x/y"}).begin(store, pieces)
    with pytest.raises(ConnectionResetError):
        await answer({}, receive, gone)
    await until(all_closed)
