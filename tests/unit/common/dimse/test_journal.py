"""The journal of associations: whole lines of many threads, taken once, and floods kept small."""

import threading
from pathlib import Path
from typing import Any

import pytest

from darkroom_common.amqp.broker import BrokerUnavailable, Unroutable
from darkroom_common.associations.relay import JournalRelay
from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.dimse import journal as journals
from darkroom_common.dimse.journal import AGAIN_SECONDS, Journal, JournalFile, Side, Tally
from darkroom_common.dimse.wire.command import CommandField
from darkroom_common.messages.events import AssociationsEnded
from darkroom_common.telemetry.metrics.common import AUDIT_LOST


class Hands:
    """A clock that tests move."""

    seconds = 0.0
    now = staticmethod(SYSTEM_CLOCK.now)

    def monotonic(self) -> float:
        return self.seconds


class Taker:
    """A broker that takes, or not."""

    def __init__(self) -> None:
        self.taken: list[AssociationsEnded] = []
        self.fault: BrokerUnavailable | Unroutable | None = None

    async def publish_all(self, messages: Any) -> list[Any]:
        if self.fault is None:
            self.taken += [message for message, _ in messages]
        return [self.fault for _ in messages]

    @property
    def items(self) -> list[Any]:
        return [item for message in self.taken for item in message.items]


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def journal(clock: Hands, tmp_path: Path) -> Journal:
    made = Journal(clock)
    made.keep_in(JournalFile(tmp_path), "ingest")
    return made


SCANNER = Side("in", "10.0.0.9", "CT1", "DARKROOM", "TLSv1.3", "ab" * 32)


def relay(tmp_path: Path, journal: Journal) -> tuple[JournalRelay, Taker]:
    taker = Taker()
    broker: Any = taker
    return JournalRelay(JournalFile(tmp_path), broker, journal), taker


async def test_what_ended_is_published_once_and_removed(tmp_path: Path, journal: Journal) -> None:
    tally = Tally()
    for status in (0, 0, 0xB000, 0xA700, 0xFF00):
        tally.answered(CommandField.C_STORE, status)
    journal.ended(SCANNER, "released", tally=tally)
    relaying, taker = relay(tmp_path, journal)
    await relaying.relay()
    await relaying.relay()
    (item,) = taker.items
    assert (item.service, item.calling_ae_title, item.protection) == ("ingest", "CT1", "TLSv1.3")
    assert (item.commands, item.failures) == ({"C-STORE": 4}, 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", [BrokerUnavailable("away"), Unroutable("nobody")])
async def test_nothing_is_lost_while_the_broker_is_away(
    fault: BrokerUnavailable | Unroutable, tmp_path: Path, journal: Journal
) -> None:
    relaying, taker = relay(tmp_path, journal)
    taker.fault = fault
    for _ in range(3):
        journal.ended(SCANNER, "released")
        with pytest.raises(type(fault)):
            await relaying.relay()
    taker.fault = None
    again, late = relay(tmp_path, journal)  # another run of the service
    await again.relay()
    assert len(late.items) == 3
    assert len({item.receipt for item in late.items}) == 3


async def test_many_threads_write_while_it_is_taken(tmp_path: Path, journal: Journal) -> None:
    relaying, taker = relay(tmp_path, journal)

    def write() -> None:
        for _ in range(200):
            journal.ended(SCANNER, "released")

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        await relaying.relay()
    await relaying.relay()
    assert len({item.receipt for item in taker.items}) == 800
    assert all(len(message.items) <= 250 for message in taker.taken)


async def test_a_line_that_is_not_whole_is_counted_and_stops_nothing(
    tmp_path: Path, journal: Journal
) -> None:
    journal.ended(SCANNER, "released")
    path = tmp_path / "now"
    path.write_bytes(path.read_bytes() + b'{"receipt": "ab\n')
    journal.ended(SCANNER, "aborted", "aborted-by-peer")
    relaying, taker = relay(tmp_path, journal)
    await relaying.relay()
    assert [item.result for item in taker.items] == ["released", "aborted"]


async def test_a_flood_of_rejections_is_two_lines_a_minute(
    tmp_path: Path, journal: Journal, clock: Hands
) -> None:
    for _ in range(500):
        journal.ended(SCANNER, "rejected", "calling-ae-title-not-recognised")
        journal.ended(Side("in", "10.6.6.6"), "refused", "handshake")
    relaying, taker = relay(tmp_path, journal)
    await relaying.relay()
    assert [item.times for item in taker.items] == [1, 1]
    clock.seconds += AGAIN_SECONDS
    await relaying.relay()
    assert [item.times for item in taker.items] == [1, 1, 499, 499]


async def test_rejections_under_many_names_are_bounded(tmp_path: Path, journal: Journal) -> None:
    for number in range(3000):
        journal.ended(Side("in", "10.6.6.6", f"AE{number}"), "rejected", "no")
    relaying, taker = relay(tmp_path, journal)
    await relaying.relay()
    assert len(taker.items) <= 1001


def test_a_full_journal_takes_no_more_and_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "MOST_BYTES", 1000)
    file = JournalFile(tmp_path)
    taken = [file.append(b"x" * 99 + b"\n") for _ in range(20)]
    assert taken == [True] * 10 + [False] * 10


def test_a_disk_that_fails_is_counted(tmp_path: Path, journal: Journal) -> None:
    before = AUDIT_LOST._value.get()
    (tmp_path / "now").mkdir()
    journal.ended(SCANNER, "released")
    assert AUDIT_LOST._value.get() == before + 1
