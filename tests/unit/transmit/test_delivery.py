"""A batch on its way: what is refused is not tried for ever, what is lost is not sent."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from darkroom_common.specs.destinations import DestinationSpec
from darkroom_transmit.sending.breaker import Breaker
from darkroom_transmit.sending.delivery import NOT_ACCEPTED, Delivery
from darkroom_transmit.sending.job import Claimed, Result
from darkroom_transmit.sending.lane import Lane
from darkroom_transmit.sending.outcome import Outcome, Verdict
from darkroom_transmit.sending.results import Results
from darkroom_transmit.sending.sender import FALLBACK_SYNTAXES, Orders
from darkroom_transmit.sending.sources import Item, Source
from tests.support.builders import CT
from tests.support.waiting import LIMIT

JPEG, RLE = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.5"
SPEC = DestinationSpec(ae_title="PACS", host="10.0.0.1", port=104)
HERE: Any = SimpleNamespace(name="PACS", id="1", spec=SPEC)


def an_item(uid: str, syntax: str = JPEG) -> Item:
    return Item(uid, CT, syntax, uid, 10, 0)


def a_job(*items: Item) -> Claimed:
    row: Any = {"priority": "medium", "originator": "", "sent": 0}
    job = Claimed("job", "PACS", 1, 0, 0.0, row)
    job.items.extend(items)
    return job


class Peer:
    """Sender and preparer: sends as is, or in the first syntax wanted; `answer` says the rest."""

    def __init__(self, answer: Callable[[Source], Outcome]) -> None:
        self.answer = answer
        self.prepared: list[str] = []
        self.sent: list[tuple[str, str]] = []

    def at_once(self, _item: Any, _to: Any, _wanted: Any) -> None:
        return None

    @asynccontextmanager
    async def prepare(self, item: Item, _to: Any, wanted: Sequence[str]) -> AsyncIterator[Source]:
        syntax = wanted[0] if wanted else item.transfer_syntax_uid
        uid = item.sop_instance_uid
        self.prepared.append(uid)
        yield Source(item, Path(uid), 0, item.size, CT, uid, syntax)

    async def send(self, _to: Any, sources: Sequence[Source], orders: Orders) -> None:
        for source in sources:
            self.sent.append((source.sop_instance_uid, source.transfer_syntax_uid))
            orders.tell(source, self.answer(source))


class Kept:
    """Database, jobs and claims of a lane, as `Results` sees them."""

    def __init__(self) -> None:
        self.recorded: list[Result] = []
        self.finished: list[str] = []
        self.held: dict[str, Claimed] = {}
        self.database = self
        self.begun = asyncio.Event()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[object]:
        yield self

    async def record(self, _db: object, results: list[Result]) -> None:
        self.recorded += results

    async def finish(self, claimed: Claimed, _decide: Any) -> None:
        assert claimed.halted
        self.finished.append(claimed.id)
        del self.held[claimed.id]

    async def keep(self) -> None:
        self.begun.set()
        await asyncio.Event().wait()


def results(kept: Any) -> Results:
    async def sent(_job: str) -> None: ...

    return Results(HERE, kept, kept, sent, lambda: 0.5)


def delivery(peer: Peer, kept: Kept) -> Delivery:
    async def show(*_: Any) -> None: ...

    yard: Any = SimpleNamespace(
        preparer=peer, senders={"dimse": peer}, show_breaker=show, at_once=lambda _: 1
    )
    return Delivery(HERE, yard, Breaker(), results(kept), lambda: None)


async def outcomes(made: Delivery, count: int) -> list[tuple[str, str]]:
    async with asyncio.timeout(LIMIT):
        answered = [(await made.results._queue.get())[1] for _ in range(count)]
    return sorted((one.sop_instance_uid, one.outcome.reason) for one in answered)


async def test_each_syntax_is_refused_once_and_then_the_object_has_failed() -> None:
    peer = Peer(lambda _: Outcome(Verdict.FAILED, NOT_ACCEPTED))
    made, job = delivery(peer, Kept()), a_job()
    async with asyncio.timeout(LIMIT):
        await made.send(job, [an_item("1"), an_item("2")])
    tried = [syntax for uid, syntax in peer.sent if uid == "1"]
    assert tried == [JPEG, *FALLBACK_SYNTAXES]
    assert await outcomes(made, 2) == [("1", NOT_ACCEPTED), ("2", NOT_ACCEPTED)]
    made.close()


async def test_only_what_was_refused_is_sent_again() -> None:
    refusing = Outcome(Verdict.FAILED, NOT_ACCEPTED)
    peer = Peer(
        lambda one: (
            refusing
            if one.sop_instance_uid == "2" and one.transfer_syntax_uid == JPEG
            else Outcome(Verdict.SENT)
        )
    )
    made = delivery(peer, Kept())
    await made.send(a_job(), [an_item("1"), an_item("2")])
    assert peer.sent == [("1", JPEG), ("2", JPEG), ("2", FALLBACK_SYNTAXES[0])]
    assert await outcomes(made, 2) == [("1", ""), ("2", "")]
    made.close()


@pytest.mark.parametrize("why", ["lost", "stopping"])
async def test_of_a_job_that_is_not_ours_any_more_nothing_more_is_sent(why: Any) -> None:
    job = a_job(an_item("3"))

    def answer(_: Source) -> Outcome:
        job.stop(why)
        return Outcome(Verdict.SENT)

    peer = Peer(answer)
    made = delivery(peer, Kept())
    await made.send(job, [an_item("1", JPEG), an_item("2", RLE)])  # a group for each syntax
    assert peer.sent == [("1", JPEG)]
    assert not job.items
    assert job.halted
    made.close()


async def test_a_refusal_of_a_lost_job_is_not_tried_in_another_syntax() -> None:
    job = a_job()

    def answer(_: Source) -> Outcome:
        job.stop("lost")
        return Outcome(Verdict.FAILED, NOT_ACCEPTED)

    peer = Peer(answer)
    made = delivery(peer, Kept())
    await made.send(job, [an_item("1")])
    assert peer.sent == [("1", JPEG)]
    assert peer.prepared == ["1"]
    made.close()


async def test_what_was_answered_is_kept_before_the_recorder_ends() -> None:
    kept = Kept()
    made, job = results(kept), a_job(an_item("2"))
    kept.held[job.id] = job
    recorder = asyncio.create_task(made.record())
    made.take(job, an_item("1"), Outcome(Verdict.SENT))
    await made.last_words(recorder)
    assert [one.sop_instance_uid for one in kept.recorded] == ["1"]
    assert kept.finished == [job.id]
    assert recorder.cancelled()


async def test_a_lane_that_is_cancelled_begins_nothing_and_has_its_last_words() -> None:
    kept: Any = Kept()
    said: list[str] = []
    stop = threading.Event()
    spec = SPEC.model_copy(update={"enabled": False})
    here: Any = SimpleNamespace(name="PACS", id="1", spec=spec)
    lane = _lane(here, kept)

    async def last_words(recorder: asyncio.Task[None]) -> None:
        said.append("stopped" if stop.is_set() else "under way")
        recorder.cancel()

    made: Any = lane
    made._claims = kept
    made._results = SimpleNamespace(record=kept.keep, last_words=last_words)
    made._delivery = SimpleNamespace(stop=stop, close=lambda: said.append("closed"))
    running = asyncio.create_task(lane.run())
    await kept.begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert said == ["stopped", "closed"]


def _lane(here: Any, kept: Any) -> Lane:
    yard: Any = SimpleNamespace(
        jobs=SimpleNamespace(table=None),
        database=kept,
        owner="here",
        lease_seconds=30.0,
        clock=None,
        sent=None,
        chance=None,
        places=SimpleNamespace(of=lambda *_: None),
        at_once=lambda _: 1,
    )
    return Lane(here, yard)
