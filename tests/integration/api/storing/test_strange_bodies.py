"""Bodies of STOW-RS by HTTP as no client should send them: each is answered, and nothing is lost.

`DARKROOM_HTTP_MUTANTS` says how many mutants are sent; `make fuzz` takes 10,000.
"""

import asyncio
import gzip
import os
import random
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from tests.conftest import PostgresServer, RabbitServer
from tests.integration.api.storing.stowing import Stowing, stowing
from tests.support.builders import a_data_set, encode
from tests.support.mutation import a_seed, mutated
from tests.support.stow import BOUNDARY, DICOM, FAILED, OTHERS, STORED, TYPE, a_body, a_file, uids
from tests.unit.ingest.stow.test_mutants import document, metadata, objects

MUTANTS = int(os.environ.get("DARKROOM_HTTP_MUTANTS", "60"))
AT_ONCE = 8
STATUSES = {200, 202, 400, 409, 413, 415}
CUT_OFF = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
PATH = "/dicom-web/studies"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stow(
    postgres_server: PostgresServer, rabbitmq_server: RabbitServer
) -> AsyncIterator[Stowing]:
    limits = dict.fromkeys(("LIMIT_BULK", "LIMIT_STORE"), "1000000/hour")
    async with stowing(postgres_server, rabbitmq_server, **limits) as made:
        yield made


def framed(content: bytes, *, head: bytes = b"Content-Type: application/dicom") -> bytes:
    """Return one part, in delimiters as RFC 2046 has them."""
    delimiter = f"--{BOUNDARY}".encode()
    return b"\r\n".join((delimiter, head, b"", content, delimiter + b"--", b""))


ONE = a_data_set()
FILE = a_file(ONE)
QUOTED = 'multipart/related; type="application/dicom"; boundary='
STRANGE: dict[str, tuple[bytes, str, int]] = {
    "no content type of the part": (framed(FILE, head=b"X: y"), TYPE, 200),
    "no fields at all": (
        framed(FILE).replace(b"Content-Type: application/dicom\r\n", b""),
        TYPE,
        200,
    ),
    "folded field": (framed(FILE, head=b"Content-Type:\r\n application/dicom"), TYPE, 200),
    "preamble and epilogue": (b"hello\r\n" + framed(FILE) + b"bye" * 99, TYPE, 200),
    "quoted boundary with blanks": (
        framed(FILE).replace(BOUNDARY.encode(), b"a b"),
        QUOTED + '"a b"',
        200,
    ),
    "escaped boundary": (framed(FILE), QUOTED + '"' + BOUNDARY.replace("b", "\\b") + '"', 200),
    "parameters in capitals": (
        framed(FILE),
        f"Multipart/Related; TYPE=application/dicom; BOUNDARY={BOUNDARY}",
        200,
    ),
    "parameters quoted with the type": (
        framed(FILE),
        TYPE.replace(DICOM, f"{DICOM}; transfer-syntax=1.2.840.10008.1.2.1"),
        200,
    ),
    "a part that is a multipart": (
        framed(
            framed(FILE).replace(BOUNDARY.encode(), b"within"),
            head=b"Content-Type: multipart/related; boundary=within",
        ),
        TYPE,
        409,
    ),
    "packed part": (framed(gzip.compress(FILE)), TYPE, 409),
    "part in base64": (
        framed(FILE, head=b"Content-Type: application/dicom\r\nContent-Transfer-Encoding: base64"),
        TYPE,
        409,
    ),
    "lines end with LF alone": (framed(FILE).replace(b"\r\n", b"\n"), TYPE, 400),
    "boundary of another body": (framed(FILE), QUOTED + "other", 400),
    "boundary twice": (framed(FILE), f"{TYPE}; boundary=other", 415),
    "boundary that is empty": (framed(FILE), QUOTED + '""', 400),
    "long content type": (framed(FILE), f'{TYPE}; x="{"y" * 6000}"', 400),
    "very long content type": (framed(FILE), f'{TYPE}; x="{"y" * 30_000}"', 400),
    "field without a name": (framed(FILE, head=b": application/dicom"), TYPE, 400),
    "field with a NUL": (framed(FILE, head=b"Content-Type: application/dicom\0"), TYPE, 400),
    "type that is not of the parts": (
        framed(FILE),
        TYPE.replace("application/dicom", "application/dicom+json"),
        409,
    ),
}


async def test_strange_multiparts(stow: Stowing) -> None:
    for name, (body, kind, status) in STRANGE.items():
        answer = await stow.send(body, kind=kind)
        assert answer.status_code == status, (name, answer.text)
        if status == 200:
            assert uids(answer.json()) == [str(ONE.SOPInstanceUID)], name
    assert await stow.kept(str(ONE.SOPInstanceUID)) == encode(ONE)


async def test_lengths_that_lie(stow: Stowing) -> None:
    one = a_data_set()
    body = a_body([a_file(one)])
    authorization = stow.api.client.headers["authorization"]

    async def say(fields: str, sent: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", stow.services.http_port)
        head = f"POST {PATH} HTTP/1.1\r\nHost: h\r\nAuthorization: {authorization}\r\n"
        writer.write(f"{head}Content-Type: {TYPE}\r\n{fields}\r\n\r\n".encode() + sent)
        if writer.can_write_eof():
            writer.write_eof()
        try:
            return await asyncio.wait_for(reader.read(), 30)
        finally:
            writer.close()

    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(body[at:][:7]), body[at:][:7]) for at in range(0, len(body), 7)
    )
    chunked = "Transfer-Encoding: chunked"
    whole = await say(f"{chunked}\r\nConnection: close", chunks + b"0\r\n\r\n")
    assert whole.startswith(b"HTTP/1.1 200 "), whole
    for fields, sent, statuses in (
        (f"Content-Length: {len(body) + 50}", body, (b"", b"400")),
        (f"Content-Length: {len(body) - 9}\r\nConnection: close", body, (b"400",)),
        (f"Content-Length: {len(body)}\r\n{chunked}", chunks, (b"400",)),
        (f"Content-Length: {len(body)}\r\nContent-Length: 5", body, (b"400",)),
        ("Content-Length: -1", body, (b"400",)),
        ("Content-Length: 99999999999999999999", body, (b"413", b"400")),
        (chunked, b"zz\r\n" + body, (b"400",)),
        (chunked, chunks, (b"", b"400")),
        ("Transfer-Encoding: gzip, chunked", chunks + b"0\r\n\r\n", (b"400", b"415", b"501")),
        ("X: y", body, (b"411", b"400")),
    ):
        answer = await say(fields, sent)
        assert answer[9:12] in statuses, (fields, answer[:300])


async def test_mutants_are_answered_and_lose_nothing(stow: Stowing) -> None:
    chance = random.Random(a_seed())
    bodies = [made() for made in (objects, metadata, document)]
    room = asyncio.Semaphore(AT_ONCE)
    said: list[int] = []

    async def send(number: int) -> None:
        body, kind = bodies[number % len(bodies)]
        mutant = mutated(chance, body)
        async with room:
            try:
                answer = await stow.send(mutant, kind=kind)
            except CUT_OFF as error:
                raise AssertionError(f"{number} was not answered") from error
        assert answer.status_code in STATUSES, (number, answer.text)
        said.append(answer.status_code)
        if answer.headers["content-type"] == "application/dicom+json":
            assert {STORED, FAILED, OTHERS} & set(answer.json()), number
            for uid in uids(answer.json()):
                kept.add(uid)

    kept: set[str] = set()
    async with asyncio.TaskGroup() as group:
        for number in range(MUTANTS):
            group.create_task(send(number))
    assert len(said) == MUTANTS
    for uid in kept:
        assert await stow.kept(uid)
    one = a_data_set()
    assert (await stow.store([a_file(one)])).status_code == 200
    assert await stow.kept(str(one.SOPInstanceUID)) == encode(one)
