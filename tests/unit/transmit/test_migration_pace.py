"""A migration never brings more than it may, but for what somebody waits for (STO-06)."""

import threading
from pathlib import Path
from typing import cast

import pytest

from darkroom_common.dicom.part10 import FileMeta, encode_head
from darkroom_common.dimse.requestor import Association, Peer, PeerFault
from darkroom_common.dimse.tls import TlsClient
from darkroom_common.specs.remote import MigrationSpec
from darkroom_transmit.migration.opening import Sources
from darkroom_transmit.migration.source import Asked, Receipt, Wanted
from darkroom_transmit.migration.taking import Taker
from darkroom_transmit.remote.remotes import Remotes
from darkroom_transmit.retrieval.dimse import Handle
from darkroom_transmit.retrieval.retrievals import Receiver
from darkroom_transmit.sending.throttle import Throttle
from tests.support.builders import CT, a_data_set, encode

RATE = 30_000
PIECES = (5_000, 20_000, 1, 64_000, 3_000)
EXPLICIT = "1.2.840.10008.1.2.1"
INGEST = Peer("127.0.0.1", 1, "DARKROOM", "MIGRATION")


class Moments(threading.Event):
    """Nobody sets it: who waits for it moves the clock on."""

    now = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.now += timeout
        return False


class Desk:
    """Where ingest is."""

    @staticmethod
    def ingest(calling: str) -> Peer:
        assert calling == "MIGRATION"
        return INGEST


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> Moments:
    """A clock, and an ingest that takes nothing: the pace is that of what the archive gives."""

    def refuses(self: Taker, pair: tuple[str, str]) -> Association:
        raise PeerFault("NotSupported")

    monkeypatch.setattr(Taker, "_association", refuses)
    return Moments()


@pytest.mark.req("STO-06")
def test_studies_that_come_at_once_share_the_rate(moments: Moments) -> None:
    throttle = Throttle(RATE, clock=lambda: moments.now)
    takers = [Taker(INGEST, throttle=throttle, handle=Handle(stop=moments)) for _ in range(2)]
    for taker in takers:
        taker.object(CT, "1.2.3", EXPLICIT)
    for number, size in enumerate(PIECES):
        takers[number % 2].write([memoryview(bytes(size))])
    assert moments.now == pytest.approx(sum(PIECES[:-1]) / RATE)
    takers[0].write([memoryview(b"1")])
    assert moments.now == pytest.approx(sum(PIECES) / RATE)


@pytest.mark.req("STO-06")
def test_what_somebody_waits_for_is_not_held_up(tmp_path: Path, moments: Moments) -> None:
    one = a_data_set(PixelData=bytes(60_000))
    uid, data = str(one.SOPInstanceUID), encode(one)
    (tmp_path / "1.dcm").write_bytes(encode_head(FileMeta(CT, uid, EXPLICIT, "A", "B")) + data)
    given = (cast("Remotes", None), cast("Receiver", Desk()), cast("TlsClient", None), tmp_path)
    spec = MigrationSpec(way="directory", directory=".", bytes_per_second=RATE)
    throttle = Throttle(spec.bytes_per_second, clock=lambda: moments.now)
    source = Sources(*given).files(spec, throttle)
    asked = Asked("1.2", [Wanted(1, "1.2.4", CT, uid, "1.dcm")], whole=True)
    told: list[Receipt] = []

    for _ in range(3):
        source.fetch(asked, told.append, Handle(stop=moments))
    assert [one.size for one in told] == [len(data)] * 3
    assert moments.now == pytest.approx(2 * len(data) / RATE), "the first found the rate unused"
    source.fetch(asked, told.append, Handle(stop=moments, hurried=True))
    assert moments.now == pytest.approx(2 * len(data) / RATE)
    source.fetch(asked, told.append, Handle(stop=moments))
    assert moments.now == pytest.approx(3 * len(data) / RATE), "nor does it take of the rate"
