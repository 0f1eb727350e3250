"""Ordinary objects are read here, from their first bytes; what is not ordinary, by a worker."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest

from darkroom_common.dicom.charset import Assumed
from darkroom_common.dicom.part10 import HEAD_LIMIT
from darkroom_common.messages.events import StoredItem
from darkroom_common.objects.store import FileSystemStore, ObjectMissing
from darkroom_common.postgres.phi import BlindIndex
from darkroom_metadata.indexing.extract import Extracted
from darkroom_metadata.indexing.filing import is_stranger
from darkroom_metadata.indexing.item import Item
from darkroom_metadata.indexing.reading import Reading
from tests.support.builders import a_data_set, a_stored_item, encode

BLIND = BlindIndex(b"b" * 32)
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
BIG, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
HEAD = b"a head of some length"


class Bench:
    """A store of files, and a worker that says what it was asked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[dict[str, Any]] = []

    def stored(self, body: bytes, syntax: str, head: bytes = HEAD, **changes: Any) -> StoredItem:
        (self.root / "key").write_bytes(head + body)
        given = {
            "object_key": "key",
            "data_set_offset": len(head),
            "size": len(body),
            "transfer_syntax_uid": syntax,
        }
        return a_stored_item(**(given | changes))

    def ask(self, line: bytes) -> bytes:
        self.asked.append(orjson.loads(line))
        said: dict[str, Any] = {"attributes": {}, "flags": ["by-worker"], "text": None}
        return orjson.dumps({**said, "places": None})

    def read(self, event: StoredItem, assumed: Assumed | None = None) -> Extracted:
        with ThreadPoolExecutor(1) as executor:
            reading = Reading(FileSystemStore(self.root), BLIND, self.ask, executor)
            return reading.read(event, assumed) if assumed else reading.read(event)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("head", [b"", HEAD, bytes(HEAD_LIMIT)])
def test_an_ordinary_object_is_read_here_from_where_its_data_set_begins(
    bench: Bench, syntax: str, head: bytes
) -> None:
    body = encode(a_data_set(PatientID="P-1", InstanceNumber=9), syntax)
    found = bench.read(bench.stored(body, syntax, head))
    assert bench.asked == []
    assert orjson.loads(found.patient.json)["j"]["00100020"]["Value"] == ["P-1"]
    assert (found.instance_number, found.rows, found.columns) == (9, 2, 2)
    assert found.head_sha256 == hashlib.sha256(head).digest()


def test_no_more_of_a_head_is_read_than_one_may_have(bench: Bench) -> None:
    body = encode(a_data_set())
    head = bytes(HEAD_LIMIT + 1000)
    found = bench.read(bench.stored(body, EXPLICIT, head))
    assert found.head_sha256 == hashlib.sha256(head[:HEAD_LIMIT]).digest()
    assert found.rows == 2


@pytest.mark.parametrize("syntax", [BIG, DEFLATED])
def test_big_endian_and_deflated_objects_are_a_workers(bench: Bench, syntax: str) -> None:
    """Whatever is in them: this one would be read here by mistake."""
    event = bench.stored(encode(a_data_set()), syntax)
    found = bench.read(event, Assumed("ISO_IR 100"))
    assert found.flags == ("by-worker",)
    (asked,) = bench.asked
    assert asked == {
        "assumed": {"name": "ISO_IR 100", "always": False},
        "key": "key",
        "syntax": syntax,
        "start": len(HEAD),
        "size": event.size,
        "few": False,
    }


def test_an_odd_object_is_a_workers(bench: Bench) -> None:
    found = bench.read(bench.stored(b"\x08\x00", EXPLICIT, flags=("late", "by-worker")))
    assert found.flags == ("late", "by-worker"), "each is told once, the sender's first"
    assert len(bench.asked) == 1


def test_flags_of_its_text_are_told(bench: Bench) -> None:
    body = encode(a_data_set(PatientName="Ascii")).replace(b"Ascii", b"M\xfcl\xe9r")
    found = bench.read(bench.stored(body, EXPLICIT, flags=("late",)))
    assert bench.asked == []
    assert found.flags[0] == "late"
    assert len(found.flags) > 1


def test_an_object_that_is_gone_is_missing(bench: Bench) -> None:
    with pytest.raises(ObjectMissing):
        bench.read(a_stored_item(object_key="nowhere"))


def test_what_stands_after_the_pixels_is_read_where_it_stands(bench: Bench) -> None:
    one = a_data_set(InstanceNumber=9, PixelData=bytes(200_000))
    one.add_new(0x7FE10010, "LO", "SOMEBODY")
    one.add_new(0x7FE11001, "LO", "WORDS THAT FOLLOW")
    found = bench.read(bench.stored(encode(one), EXPLICIT))
    assert bench.asked == []
    assert found.instance_number == 9
    assert "WORDS THAT FOLLOW" in found.header


@pytest.mark.parametrize(
    ("one", "other", "strange"),
    [
        ({"PatientID": "P-1"}, {"PatientID": "P-1"}, False),
        ({"PatientID": "P-1"}, {"PatientID": "P-2"}, True),
    ],
)
def test_an_instance_of_another_patient_is_a_stranger(
    bench: Bench, one: dict[str, str], other: dict[str, str], *, strange: bool
) -> None:
    items = []
    for changes in (one, other):
        event = bench.stored(encode(a_data_set(**changes)), EXPLICIT)
        items.append(Item(event, bench.read(event)))
    assert is_stranger(*items) is strange
    assert is_stranger(*reversed(items)) is strange
