"""What a worker tells the main process arrives as it was."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from darkroom_common.clock import monotonic
from darkroom_common.dicom.part10 import FileMeta, encode_head
from darkroom_common.objects.receipt import Receipt, ReceiptReader
from darkroom_common.telemetry.merged import Row
from darkroom_ingest.door.reports import (
    PACKET,
    Counted,
    Drain,
    Failed,
    Missed,
    Report,
    Reporter,
    Started,
    decode,
    encode,
)
from tests.support.builders import CT, a_data_set
from tests.support.builders import encode as encode_data_set
from tests.support.waiting import LIMIT

EXPLICIT = "1.2.840.10008.1.2.1"
ROW: Row = ("darkroom_x", "darkroom_x_total", False, (("node", "CT"),), 2.0)


def a_receipt(data: bytes = b"") -> Receipt:
    """Return what is told of an object of this data set."""
    reader = ReceiptReader()
    head = encode_head(FileMeta(CT, "1.2", EXPLICIT, "SCANNER", "DARKROOM"))
    reader.feed(
        head
        + (
            data
            or encode_data_set(
                a_data_set(SOPInstanceUID="1.2", StudyInstanceUID="1", SeriesInstanceUID="1.1")
            )
        )
    )
    return reader.finish(receipt_id="a" * 32, received_at=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "patient_id", [b"PLAIN-1 ", b"M\xfcLLER-1", b"\xff\xfe\x00\x01\x80\x81\x82\x83", b""]
)
def test_a_receipt_of_any_character_set_comes_through(patient_id: bytes) -> None:
    """PS3.5 6.1: an id may be in Latin-1, Shift JIS or nothing at all."""
    data = encode_data_set(a_data_set(PatientID="X" * len(patient_id)))
    data = data.replace(b"X" * len(patient_id), patient_id) if patient_id else data
    receipt = a_receipt(data)
    assert patient_id.strip(b" \x00") in receipt.identity.patient_key
    told = decode(encode(receipt))
    assert isinstance(told, Receipt)
    assert told == receipt


@pytest.mark.parametrize(
    "report",
    [Started(), Missed(), Drain(12.5), Failed("ENOSPC"), Counted([]), Counted([ROW, ROW])],
    ids=lambda one: type(one).__name__,
)
def test_every_report_comes_through(report: Report) -> None:
    assert decode(encode(report)) == report


def test_what_is_no_report_is_told() -> None:
    with pytest.raises(ValueError, match="unknown report"):
        decode(b"X")


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """What the main process reads, and what a worker writes."""
    main, worker = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with main, worker:
        main.settimeout(0)
        yield main, worker


def heard(main: socket.socket) -> list[Report]:
    """Return all that has been said by now."""
    found: list[Report] = []
    with suppress(BlockingIOError):
        while message := main.recv(PACKET):
            found.append(decode(message))
    return found


def fill(worker: socket.socket) -> None:
    """Say what is of no weight until not even a word goes in."""
    for report in (Counted([ROW] * 100), Counted([]), Started()):
        with suppress(BlockingIOError):
            while True:
                worker.send(encode(report), socket.MSG_DONTWAIT)


def test_what_is_told_is_heard_in_its_order(ends: tuple[socket.socket, socket.socket]) -> None:
    main, worker = ends
    reporter = Reporter(worker)
    reporter.tell(Started())
    reporter.tell(a_receipt())
    reporter.make_up()
    assert heard(main) == [Started(), a_receipt()], "and nothing was missed"


def test_a_main_process_that_does_not_read_holds_up_no_worker(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """A receipt that finds no room is said to be missed, once, as soon as there is some."""
    main, worker = ends
    reporter = Reporter(worker)
    fill(worker)
    began = monotonic()
    reporter.tell(a_receipt())
    reporter.make_up()  # there is no room for that, either
    assert monotonic() - began < LIMIT
    assert Missed() not in heard(main)
    reporter.make_up()
    reporter.make_up()
    assert heard(main) == [Missed()]


def test_samples_that_find_no_room_are_not_missed(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """There are newer ones soon; but they make no missed receipt forgotten."""
    main, worker = ends
    reporter = Reporter(worker)
    fill(worker)
    reporter.tell(Counted([ROW]))
    heard(main)
    reporter.make_up()
    assert heard(main) == []
    fill(worker)
    reporter.tell(a_receipt())
    reporter.tell(Counted([ROW]))
    heard(main)
    reporter.make_up()
    assert heard(main) == [Missed()]
