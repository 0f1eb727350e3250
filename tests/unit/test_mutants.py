"""Thousands of mutants of PDUs, commands and data sets: read, or refused by a named error.

The rest of the 10,000 of design/reliability.md meets the real processes, in
tests/integration/ingest/test_mutants.py.
"""

import random
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import orjson
import pytest

from darkroom_common.dicom.identity import IdentityReader
from darkroom_common.dicom.inflate import Inflater
from darkroom_common.dicom.limits import ReadLimits
from darkroom_common.dicom.part10 import decode_head
from darkroom_common.dicom.walk import Unreadable
from darkroom_common.dimse.negotiation import Supported, negotiate
from darkroom_common.dimse.wire.association_items import decode_associate_request
from darkroom_common.dimse.wire.command import decode_command
from darkroom_common.dimse.wire.pdu import ControlPdu, Fragment, PduParser, ProtocolError
from darkroom_common.objects.receipt import ReceiptReader
from darkroom_common.postgres.phi import BlindIndex
from tests.integration.ingest.real import store_command, value
from tests.support.builders import CT, a_data_set, a_stored_item, encode
from tests.support.headers import read_one
from tests.support.mutation import a_seed, mutated, real_files

IMPLICIT, EXPLICIT, BIG, DEFLATED = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
)
SUPPORTED = {CT: Supported((EXPLICIT, IMPLICIT))}
BLIND = BlindIndex(b"k" * 32)
LONGEST = 5.0
"""Seconds that one mutant may take: far more than any does, far less than a hang."""
SMALL = 60_000
TRACED = 100
"""Cases of which the memory is looked at, too: that takes three times as long."""


def request() -> bytes:
    def item(kind: int, content: bytes) -> bytes:
        return struct.pack(">BBH", kind, 0, len(content)) + content

    contexts = b"".join(
        item(0x20, bytes([n, 0, 0, 0]) + item(0x30, CT.encode()) + item(0x40, EXPLICIT.encode()))
        for n in range(1, 20, 2)
    )
    user = item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3") + item(0x55, b"VERSION")
    user += item(0x54, struct.pack(">H", len(CT)) + CT.encode() + b"\x01\x00")
    user += item(0x58, b"\x02\x00\x00\x04user\x00\x04pass")
    body = struct.pack(">HH", 1, 0) + b"DARKROOM".ljust(16) + b"SCANNER".ljust(16) + bytes(32)
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + item(0x50, user)
    return struct.pack(">BBL", 1, 0, len(body)) + body


def chunks(chance: random.Random, data: bytes) -> list[memoryview]:
    size = chance.choice((1, 7, 100, 1 << 16)) if len(data) < 5000 else 1 << 16
    view = memoryview(data)
    return [view[start : start + size] for start in range(0, len(view), size)]


def associate(chance: random.Random) -> None:
    data = request()
    with suppress(ProtocolError):
        negotiate(decode_associate_request(mutated(chance, data[6:])), SUPPORTED, 131072)


def parse(chance: random.Random) -> None:
    one = encode(a_data_set())
    stream = value(1, 3, store_command("1.2.3")) + value(1, 0, one[:200]) + value(1, 2, one[200:])
    stream += struct.pack(">BxLL", 5, 4, 0)
    parser = PduParser(131072)
    command = bytearray()
    with suppress(ProtocolError):
        for piece in chunks(chance, mutated(chance, stream)):
            for event in parser.feed(piece):
                assert isinstance(event, Fragment | ControlPdu)
                if isinstance(event, Fragment) and event.is_command:
                    command += event.data
        decode_command(command)


def command(chance: random.Random) -> None:
    with suppress(ProtocolError):
        decode_command(mutated(chance, store_command("1.2.840.99.1")))


def identity(chance: random.Random, syntax: str, data: bytes) -> None:
    reader = IdentityReader(syntax)
    whole = False
    with suppress(Unreadable):
        for piece in chunks(chance, mutated(chance, data)):
            reader.feed(piece)
        reader.finish()
        whole = True
    if not whole:
        with suppress(Unreadable):
            reader.found()


def inflate(chance: random.Random, packed: bytes) -> None:
    inflater = Inflater(1 << 20)
    with suppress(Unreadable):
        for piece in chunks(chance, mutated(chance, packed)):
            for part in inflater.feed(piece):
                assert len(part) <= 1 << 16
        inflater.finish()


def receipt(chance: random.Random, file: bytes) -> None:
    mutant = mutated(chance, file)
    with suppress(Unreadable):
        decode_head(mutant[: 1 << 16])
    reader = ReceiptReader(ReadLimits())
    with suppress(Unreadable):
        for piece in chunks(chance, mutant):
            reader.feed(bytes(piece))
        reader.finish(receipt_id="a" * 32, received_at=a_moment())


def header(chance: random.Random, file: bytes) -> None:
    """As the indexer does: what pydicom refuses is indexed without a header, the rest with one."""
    meta, offset = decode_head(file)
    mutant = file[:offset] + mutated(chance, file[offset:])
    event = a_stored_item(
        data_set_offset=offset,
        size=len(mutant) - offset,
        transfer_syntax_uid=meta.transfer_syntax_uid,
    )
    extracted = read_one(event, mutant, BLIND)
    assert "\x00" not in extracted.header
    orjson.loads(extracted.header)


def a_moment() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


def run(name: str, cases: int, case: Callable[[random.Random], None]) -> None:
    seed = a_seed()
    try:
        for number in range(cases):
            if number == cases - TRACED:
                tracemalloc.start()
            began = time.process_time()
            try:
                case(random.Random(f"{name} {seed} {number}"))
            except Exception as error:
                raise AssertionError(f"{name}, seed {seed}, case {number}: {error!r}") from error
            assert time.process_time() - began < LONGEST, (name, seed, number)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def says_its_syntax(file: bytes) -> bool:
    """Whether a file has a head as ours have."""
    try:
        return bool(decode_head(file)[0].transfer_syntax_uid)
    except Unreadable:
        return False


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    return real_files(SMALL)


@pytest.mark.parametrize(("case", "cases"), [(associate, 1000), (parse, 1500), (command, 1500)])
def test_mutants_of_the_protocol(case: Callable[[random.Random], None], cases: int) -> None:
    run(case.__name__, cases, case)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_mutants_of_data_sets(syntax: str) -> None:
    inner = a_data_set()
    one = a_data_set(ReferencedStudySequence=[inner, a_data_set()])
    data = encode(one, syntax)
    run(f"identity {syntax}", 1000, lambda chance: identity(chance, syntax, data))


def test_mutants_of_deflated_data_sets() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(encode(a_data_set(PixelData=bytes(4096)))) + packer.flush()
    run("inflate", 1000, lambda chance: inflate(chance, packed))
    run("identity deflated", 500, lambda chance: identity(chance, DEFLATED, packed))


def test_mutants_of_real_files(files: list[bytes]) -> None:
    run("receipt", 1000, lambda chance: receipt(chance, chance.choice(files)))


@pytest.mark.filterwarnings("ignore")
def test_mutants_of_real_headers(files: list[bytes]) -> None:
    ours = [file for file in files if says_its_syntax(file)]
    assert len(ours) > 50
    run("header", 1000, lambda chance: header(chance, chance.choice(ours)))
