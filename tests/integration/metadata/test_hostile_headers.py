"""Headers that are made to cost: a worker reads them, and they are indexed by what is plain."""

import asyncio
import hashlib
import os
import struct
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from darkroom_common.messages.events import StoredItem
from darkroom_common.objects.store import ObjectMissing
from darkroom_metadata.indexing import reading as module
from darkroom_metadata.indexing.extract import UNREADABLE, Extracted
from darkroom_metadata.indexing.reading import Reading, open_reading
from darkroom_metadata.settings import MetadataSettings
from tests.support.builders import a_data_set, a_stored_item, encode
from tests.support.services import Services

DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT = "1.2.840.10008.1.2.1"
MOST = 64 << 20
"""Bytes that the process may grow by."""


@pytest.fixture
async def reading(services: Services, tmp_path: Path) -> AsyncIterator[Reading]:
    root = tmp_path / "objects"
    root.mkdir()
    given = services.secrets | {"STORE_URL": root.as_uri()}
    settings = MetadataSettings.model_validate(
        {
            "store_url": given["STORE_URL"],
            "phi_keys": given["PHI_KEYS"],
            "blind_index_key": given["BLIND_INDEX_KEY"],
            "postgres_url": "postgresql://nobody@127.0.0.1:1/none",
            "amqp_url": "amqp://nobody@127.0.0.1:1/",
        }
    )
    async with open_reading(settings) as made:
        yield made


async def read(reading: Reading, root: Path, body: bytes, syntax: str) -> Extracted:
    digest = hashlib.sha256(body).hexdigest()
    key = f"{digest[:2]}/{digest}.dcm"
    source = root / "source"
    source.write_bytes(b"head" + body)
    await reading.store.put_files([(key, source)])
    event = a_stored_item(
        object_key=key, data_set_offset=4, size=len(body), transfer_syntax_uid=syntax, flags=()
    )
    return await _in_a_thread(reading, event)


async def _in_a_thread(reading: Reading, event: StoredItem) -> Extracted:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(reading.executor, reading.read, event)


def element(tag: int, vr: bytes, length: int) -> bytes:
    return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, vr, 0, length)


def rss() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def named(header: Extracted) -> str:
    found = orjson.loads(header.patient.json)["j"]["00100010"]["Value"][0]["Alphabetic"]
    return str(found)


async def test_what_is_deflated_is_read_whole_by_a_worker(reading: Reading, tmp_path: Path) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    found = await read(
        reading, tmp_path, packer.compress(encode(a_data_set())) + packer.flush(), DEFLATED
    )
    assert named(found) == "Planted^Name"
    assert found.flags == ()
    assert orjson.loads(found.header)["00280010"] == {"vr": "US", "Value": [2]}


async def test_a_bomb_costs_neither_memory_nor_the_patient(
    reading: Reading, tmp_path: Path
) -> None:
    size = 1 << 30
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    made = [packer.compress(encode(a_data_set()) + element(0x7FE10010, b"OB", size))]
    made += [packer.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    before = rss()
    found = await read(reading, tmp_path, b"".join([*made, packer.flush()]), DEFLATED)
    assert rss() - before < MOST
    assert named(found) == "Planted^Name"


@pytest.mark.parametrize("items", [50_000, 450_000])
async def test_very_many_items_are_indexed_by_what_is_plain(
    reading: Reading, tmp_path: Path, items: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIMIT", 15.0 if items > 100_000 else 60.0)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
    many = element(0x00081140, b"SQ", items * 8) + item * items
    whole = encode(a_data_set(AccessionNumber="A1"))
    at = whole.index(struct.pack("<HH", 0x0010, 0x0010))
    before = rss()
    found = await read(reading, tmp_path, whole[:at] + many + whole[at:], EXPLICIT)
    assert rss() - before < 4 * MOST
    assert named(found) == "Planted^Name"
    assert found.rows == 2


async def test_deep_nesting_by_defined_lengths_costs_itself_alone(
    reading: Reading, tmp_path: Path
) -> None:
    made = b""
    for _ in range(20_000):
        item = struct.pack("<HHL", 0xFFFE, 0xE000, len(made)) + made
        made = element(0x00081140, b"SQ", len(item)) + item
    whole = encode(a_data_set())
    at = whole.index(struct.pack("<HH", 0x0010, 0x0010))
    found = await read(reading, tmp_path, whole[:at] + made + whole[at:], EXPLICIT)
    assert found.flags
    assert named(found) == "Planted^Name"


async def test_what_takes_too_much_is_flagged_and_the_next_is_read(
    reading: Reading, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packer.compress(encode(a_data_set())) + packer.flush()
    with monkeypatch.context() as patch:
        patch.setattr(module, "LIMIT", 0.0)
        found = await read(reading, tmp_path, body, DEFLATED)
    assert found.flags == (UNREADABLE,)
    assert (await read(reading, tmp_path, body, DEFLATED)).flags == ()


async def test_an_object_that_is_gone_is_missing(reading: Reading) -> None:
    event = a_stored_item(object_key="00/none.dcm", transfer_syntax_uid=DEFLATED)
    with pytest.raises(ObjectMissing):
        await _in_a_thread(reading, event)
