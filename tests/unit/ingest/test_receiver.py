"""A reception step by step: what stops it between its first byte and its last."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from darkroom_common.dimse.statuses import StoreStatus
from darkroom_common.objects.receipt import Receipt
from darkroom_common.objects.spool import Spool, SpoolFailed
from darkroom_ingest.receiving import digest as digest_module
from darkroom_ingest.receiving import receive as receive_module
from darkroom_ingest.receiving.acceptance import Offer, Room
from darkroom_ingest.receiving.receive import Receiver
from tests.support.builders import CT, a_data_set, encode

EXPLICIT = "1.2.840.10008.1.2.1"


class Door:
    """Receives, with what a test says of the volume."""

    def __init__(self, root: Path, **changes: Any) -> None:
        self.spool = Spool(root)
        self.receipts: list[Receipt] = []
        self.receiver = Receiver(
            self.spool,
            changes.pop("reserve", 0),
            changes.pop("most", 1 << 30),
            self.receipts.append,
            **changes,
        )
        one = a_data_set(PixelData=bytes(60_000))
        self.data = encode(one)
        self.offer = Offer(CT, str(one.SOPInstanceUID), EXPLICIT, "SCANNER", "DARKROOM")

    def nothing_is_left(self) -> bool:
        return not self.spool.waiting() and not list(self.spool.tmp.iterdir())

    def aside(self) -> list[Path]:
        return [one for one in self.spool.quarantine.iterdir() if one.suffix != ".json"]


def test_the_reserve_holds_within_an_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receive_module, "LOOK_EVERY", 10_000)
    door = Door(tmp_path, reserve=1000)
    free = [5000]
    monkeypatch.setattr(door.receiver, "room", lambda: Room(free[0], 1000))
    reception = door.receiver.begin(door.offer)
    reception.write([memoryview(door.data)[:20_000]])
    assert reception.reason == ""
    free[0] = 999
    reception.write([memoryview(door.data)[20_000:22_000]])
    assert reception.reason == "", "it looks now and then"
    reception.write([memoryview(door.data)[22_000:40_000]])
    assert reception.reason == "reserve-reached"
    free[0] = 5000
    reception.write([memoryview(door.data)[40_000:]])
    assert reception.finish() == StoreStatus.REFUSED_OUT_OF_RESOURCES
    assert door.nothing_is_left()
    assert door.receipts == []


@pytest.mark.parametrize("why", ["reserve", "draining", "failed"])
def test_what_is_refused_is_not_written_at_all(tmp_path: Path, why: str) -> None:
    door = Door(tmp_path, reserve=1 << 60 if why == "reserve" else 0)
    if why == "draining":
        door.receiver.draining = True
    if why == "failed":
        door.spool.fail("another process has seen it")
    reception = door.receiver.begin(door.offer)
    reception.write([memoryview(door.data)])
    assert reception.finish() == StoreStatus.REFUSED_OUT_OF_RESOURCES
    assert door.nothing_is_left()


def test_what_is_too_long_is_kept_to_its_limit_and_set_aside(tmp_path: Path) -> None:
    door = Door(tmp_path, most=30_000)
    reception = door.receiver.begin(door.offer)
    for at in range(0, 40_000, 10_000):
        reception.write([memoryview(door.data)[at : at + 10_000]])
    assert not reception.overrun
    assert reception.finish() == StoreStatus.CANNOT_UNDERSTAND
    assert reception.reason == "too-large"
    (kept,) = door.aside()
    assert kept.read_bytes()[-30_000:] == door.data[:30_000]
    reception = door.receiver.begin(door.offer)
    reception.write([memoryview(door.data), memoryview(b"\0")])
    assert reception.overrun
    reception.abandon()
    assert len(door.aside()) == 1
    assert door.spool.waiting() == []


def test_exactly_the_limit_is_taken(tmp_path: Path) -> None:
    door = Door(tmp_path)
    door.receiver.max_bytes = len(door.data)
    reception = door.receiver.begin(door.offer)
    reception.write([memoryview(door.data)])
    assert reception.finish() == StoreStatus.SUCCESS
    assert len(door.receipts) == 1
    assert door.receipts[0].size == len(door.data)


def test_a_success_is_durable_before_it_is_told(tmp_path: Path) -> None:
    door = Door(tmp_path)
    seen: list[bool] = []
    door.receiver.on_ready = lambda receipt: seen.append(door.spool.path(receipt.id).exists())
    reception = door.receiver.begin(door.offer)
    reception.write([memoryview(door.data)])
    assert reception.finish() == StoreStatus.SUCCESS
    assert seen == [True]


def test_who_cannot_be_told_changes_no_answer(tmp_path: Path) -> None:
    door = Door(tmp_path)

    def fail(_: Receipt) -> None:
        raise ConnectionError

    door.receiver.on_ready = fail
    reception = door.receiver.begin(door.offer)
    reception.write([memoryview(door.data)])
    assert reception.finish() == StoreStatus.SUCCESS
    assert len(door.spool.waiting()) == 1, "the relay finds it by itself"


@pytest.mark.parametrize("method", ["begin", "write", "commit"])
def test_a_volume_that_fails_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    door = Door(tmp_path)
    if method == "write":
        reception = door.receiver.begin(door.offer)

    def fail(*_: object) -> Any:
        raise SpoolFailed("spool: No space left on device")

    monkeypatch.setattr(door.spool, method, fail)
    if method != "write":
        reception = door.receiver.begin(door.offer)
    reception.write([memoryview(door.data)])
    assert reception.finish() == StoreStatus.REFUSED_OUT_OF_RESOURCES
    assert reception.reason == "failed"
    assert door.nothing_is_left()
    assert door.receipts == []


def test_another_object_than_the_command_says_is_set_aside(tmp_path: Path) -> None:
    door = Door(tmp_path)
    others = (
        replace(door.offer, sop_instance_uid="1.2.9"),
        replace(door.offer, sop_class_uid="1.2.9"),
    )
    for offer in others:
        reception = door.receiver.begin(offer)
        reception.write([memoryview(door.data)])
        assert reception.finish() == StoreStatus.DATA_SET_DOES_NOT_MATCH
    assert len(door.aside()) == 2
    assert door.spool.waiting() == []


def test_an_object_of_another_study_than_the_path_is_refused(tmp_path: Path) -> None:
    door = Door(tmp_path)
    reception = door.receiver.begin(replace(door.offer, study_instance_uid="1.2.9"))
    reception.write([memoryview(door.data)])
    assert reception.finish() == StoreStatus.OTHER_STUDY
    assert door.nothing_is_left()
    assert door.aside() == []


def test_what_was_not_ended_leaves_nothing(tmp_path: Path) -> None:
    door = Door(tmp_path)
    reception = door.receiver.begin(door.offer)
    reception.write([memoryview(door.data)[:1000]])
    reception.abandon()
    assert door.nothing_is_left()


def test_what_is_set_aside_is_kept_whole_and_named_by_its_first_fault(tmp_path: Path) -> None:
    door = Door(tmp_path)
    deflated = replace(door.offer, transfer_syntax_uid="1.2.840.10008.1.2.1.99")
    reception = door.receiver.begin(deflated)
    reception.write([memoryview(b"\xff" * 40)])
    first = reception._aside
    assert first is not None
    rest = door.data[:30_000]
    reception.write([memoryview(rest)])
    assert reception._aside is first
    assert reception.finish() == StoreStatus.CANNOT_UNDERSTAND
    (kept,) = door.aside()
    assert kept.read_bytes().endswith(rest)


def test_twice_the_limit_is_no_overrun_and_one_byte_more_is(tmp_path: Path) -> None:
    door = Door(tmp_path, most=100)
    reception = door.receiver.begin(door.offer)
    told = []
    for size in (200, 1):
        reception.write([memoryview(bytes(size))])
        told.append(reception.overrun)
    assert told == [False, True]
    reception.abandon()


@pytest.mark.parametrize("end", ["finish", "abandon"])
def test_no_thread_of_a_large_object_outlives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(digest_module, "ASIDE_FROM", 10)
    door = Door(tmp_path, most=50_000)
    reception = door.receiver.begin(door.offer)
    reception.write([memoryview(door.data)[:40_000]])
    assert [one.name for one in threading.enumerate()].count("digest") == 1
    reception.write([memoryview(door.data)[40_000:]])  # too large: nobody asks for the digest
    getattr(reception, end)()
    assert [one.name for one in threading.enumerate()].count("digest") == 0


def test_the_room_is_looked_at_as_soon_as_it_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receive_module, "LOOK_EVERY", 10_000)
    door = Door(tmp_path)
    looks: list[int] = []

    def room() -> Room:
        looks.append(reception.size if looks else 0)
        return Room(1 << 40, 0)

    monkeypatch.setattr(door.receiver, "room", room)
    reception = door.receiver.begin(door.offer)
    for at in range(0, 30_000, 5_000):
        reception.write([memoryview(door.data)[at : at + 5_000]])
    assert looks == [0, 10_000, 20_000, 30_000]
    reception.abandon()
