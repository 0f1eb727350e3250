"""What the faults of a batch come to: whom they are blamed on, what is told, what is sent again."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, Final

import pytest

from darkroom_common.dimse.requestor import PeerFault
from darkroom_common.dimse.wire.command import Element, Value
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.specs.destinations import DestinationSpec
from darkroom_common.transcoding.preparing import CannotPrepare, PreparationUnavailable
from darkroom_transmit.sending.breaker import THRESHOLD, Breaker
from darkroom_transmit.sending.delivery import Delivery, Yard
from darkroom_transmit.sending.job import Claimed
from darkroom_transmit.sending.outcome import Outcome, Verdict
from darkroom_transmit.sending.pool import PoolExhausted
from darkroom_transmit.sending.sender import Interrupted, Orders
from darkroom_transmit.sending.sources import Item, Source
from darkroom_transmit.sending.suspicion import FAULTS, MOST_IN_A_ROW
from tests.support.waiting import LIMIT, until
from tests.unit.transmit.test_delivery import RLE, SPEC, a_job, an_item

LOST: Final = PeerFault("ConnectionLost")
SENT, FAILED, SUSPECT = Outcome(Verdict.SENT), Verdict.FAILED, Verdict.SUSPECT


class Node:
    """A destination that ends the association within some objects: `bad`, or all but so many."""

    def __init__(self, *bad: str) -> None:
        self.bad = set(bad)
        self.fault: PeerFault | None = None
        self.raises: list[BaseException] = []
        self.groups: list[list[str]] = []
        self.fresh: list[bool] = []
        self.priorities: list[Value] = []
        self.echoed: list[PeerFault | None] = []
        self.unprepared: dict[str, Exception] = {}

    def at_once(self, _item: Any, _to: Any, _wanted: Any) -> None:
        return None

    @asynccontextmanager
    async def prepare(self, item: Item, _to: Any, _wanted: Any) -> AsyncIterator[Source]:
        uid = item.sop_instance_uid
        if uid in self.unprepared:
            raise self.unprepared[uid]
        made: Any = SimpleNamespace(
            item=item, sop_instance_uid=uid, transfer_syntax_uid=item.transfer_syntax_uid
        )
        made.left_out = ()
        yield made

    async def send(self, _to: Any, sources: Sequence[Source], orders: Orders) -> None:
        self.groups.append([one.sop_instance_uid for one in sources])
        self.fresh.append(orders.fresh)
        self.priorities.append(orders.elements[Element.PRIORITY])
        if self.raises:
            raise self.raises.pop(0)
        for n, source in enumerate(sources):
            if source.sop_instance_uid in self.bad:
                raise Interrupted(self.fault or LOST, sources[n:])
            orders.tell(source, SENT)

    async def echo(self, *_: Any) -> None:
        fault = self.echoed.pop(0)
        if fault is not None:
            raise fault


class Made:
    """A delivery to a node, and all that it told."""

    def __init__(self, node: Node, spec: DestinationSpec = SPEC) -> None:
        self.told: list[tuple[str, Outcome]] = []
        self.shown: list[tuple[str, str, float]] = []
        self.woken = 0
        self.away = False

        async def show(name: str, state: str, reason: str, seconds: float) -> None:
            assert name == "PACS"
            if self.away:
                raise DependencyUnavailable("PostgreSQL: away")
            self.shown.append((state, reason, seconds))

        def wake() -> None:
            self.woken += 1

        yard: Any = SimpleNamespace(
            preparer=node,
            senders={"dimse": node},
            show_breaker=show,
            at_once=lambda _: 1,
            clock=SimpleNamespace(monotonic=lambda: 1000.0),
        )
        here: Any = SimpleNamespace(name="PACS", id="1", spec=spec)
        results: Any = SimpleNamespace(take=self.take)
        self.breaker = Breaker()
        self.delivery = Delivery(here, yard, self.breaker, results, wake)

    def take(self, claimed: Claimed, item: Item, outcome: Outcome) -> None:
        if outcome.arrived:
            claimed.arrived += 1
        self.told.append((item.sop_instance_uid, outcome))

    async def send(self, job: Claimed, *items: Item) -> None:
        async with asyncio.timeout(LIMIT):
            await self.delivery.send(job, items)
        self.delivery.close()

    def of(self, verdict: Verdict) -> list[str]:
        return [uid for uid, outcome in self.told if outcome.verdict is verdict]


def items(*uids: str, faults: int = 0) -> list[Item]:
    return [Item(uid, "1.2", RLE, uid, 10, 0, faults) for uid in uids]


async def test_what_is_under_way_is_halved_until_one_is_left_and_the_rest_arrives() -> None:
    node = Node("3")
    made, job = Made(node), a_job()
    await made.send(job, *items("1", "2", "3", "4", "5", "6"))
    assert node.groups == [["1", "2", "3", "4", "5", "6"], ["3", "4"], ["3"], ["4"], ["5", "6"]]
    assert sorted(made.of(Verdict.SENT)) == ["1", "2", "4", "5", "6"]
    assert made.told.count(("3", Outcome(SUSPECT, "ConnectionLost"))) == 1
    assert [(one.sop_instance_uid, one.faults) for one in job.suspects] == [("3", 1)]
    assert not job.halted
    assert not any(node.fresh)
    assert made.breaker.failures == 0


async def test_a_suspect_goes_alone_over_an_association_of_its_own() -> None:
    node = Node()
    made, job = Made(node), a_job()
    await made.send(job, *items("3", faults=1))
    assert node.fresh == [True]
    assert made.of(Verdict.SENT) == ["3"]


@pytest.mark.parametrize(
    ("faults", "transient", "verdict"),
    [
        *((1, True, SUSPECT), (FAULTS - 2, True, SUSPECT), (FAULTS - 1, True, FAILED)),
        (1, False, FAILED),
    ],
)
async def test_a_suspect_has_failed_when_it_goes_wrong_again_and_again_while_others_arrive(
    faults: int, transient: bool, verdict: Verdict
) -> None:
    node = Node("3")
    node.fault = PeerFault("ConnectionLost", transient=transient)
    made, job = Made(node), a_job()
    job.arrived = 1
    await made.send(job, *items("3", faults=faults))
    assert made.told == [("3", Outcome(verdict, "ConnectionLost"))]
    assert not job.halted
    assert not job.suspects, "it is asked for again by its row"


async def test_what_an_earlier_attempt_has_sent_speaks_for_the_destination() -> None:
    made, job = Made(Node("3")), a_job()
    row: Any = {"priority": "high", "originator": "", "sent": 1}
    job.row = row
    await made.send(job, *items("3", faults=1))
    assert made.of(SUSPECT) == ["3"]
    assert made.delivery.suspicion._in_a_row == {"3"}


@pytest.mark.parametrize(
    ("answer", "blamed"),
    [
        *((None, False), (PeerFault("SopClassNotAccepted"), False)),
        *((PeerFault("NotAuthenticated"), False), (PeerFault("ConnectionRefused"), True)),
    ],
)
async def test_of_a_destination_that_has_taken_nothing_it_is_asked_whether_it_answers(
    answer: PeerFault | None, blamed: bool
) -> None:
    node = Node("3")
    node.echoed = [answer]
    made, job = Made(node), a_job()
    await made.send(job, *items("3", faults=1))
    assert node.echoed == []
    assert made.of(SUSPECT) == ([] if blamed else ["3"])
    assert job.halted is blamed
    assert job.fault == ("ConnectionLost" if blamed else "")
    assert made.breaker.failures == int(blamed)


async def test_one_after_another_that_goes_wrong_is_the_fault_of_the_destination() -> None:
    bad = [str(n) for n in range(MOST_IN_A_ROW)]
    node = Node(*bad)
    made, job = Made(node), a_job()
    for uid in bad[:-1]:
        await made.delivery.send(job, items(uid))
    assert (job.halted, len(job.suspects)) == (False, MOST_IN_A_ROW - 1)
    await made.send(job, *items(bad[-1]))
    assert (job.halted, job.fault) == (True, "ConnectionLost")
    assert made.breaker.failures == 1
    assert made.of(SUSPECT) == bad
    assert not job.suspects


async def test_something_that_arrives_ends_the_row_of_what_went_wrong() -> None:
    node = Node("1", "2", "4")
    made, job = Made(node), a_job()
    for uid in ("1", "2", "3", "4"):
        await made.delivery.send(job, items(uid))
    assert not job.halted
    made.delivery.close()


async def test_a_pool_without_room_says_nothing_of_the_destination() -> None:
    node = Node()
    node.raises = [PoolExhausted("4 of 4")]
    made, job = Made(node), a_job()
    made.breaker._until, made.breaker._probing = 900.0, True
    await made.send(job, *items("1", "2"))
    assert (job.halted, job.exhausted, job.fault_is_permanent) == (True, True, False)
    assert made.breaker.state() == "open"
    assert made.breaker.failures == 0
    assert made.told == []


@pytest.mark.parametrize("transient", [True, False])
async def test_a_destination_that_cannot_be_sent_to_halts_the_job_and_counts(
    transient: bool,
) -> None:
    node = Node()
    node.raises = [PeerFault("ConnectionRefused", transient=transient)]
    made, job = Made(node), a_job(an_item("9"))
    made.breaker.failures = THRESHOLD - 1
    await made.send(job, *items("1"), *[an_item("2")])
    assert node.groups == [["1"]], "nothing more is tried"
    assert (job.halted, job.fault, job.fault_is_permanent) == (
        *(True, "ConnectionRefused", not transient),
    )
    assert made.breaker.state() == "open"
    assert made.breaker.wait(1000.0) > 0
    ((state, reason, seconds),) = made.shown
    assert (state, reason) == ("open", "ConnectionRefused")
    assert seconds == made.breaker.wait(1000.0)
    assert made.woken == 1
    assert made.told == []


async def test_a_breaker_is_shown_closed_once_and_again_after_a_fault() -> None:
    made, job = Made(Node()), a_job()
    for uid in ("1", "2"):
        await made.delivery.send(job, items(uid))
    assert [state for state, _, _ in made.shown] == ["closed"]
    assert made.woken == 1
    made.breaker.failures = 1
    await made.delivery.send(job, items("3"))
    assert made.breaker.failures == 0
    assert [state for state, _, _ in made.shown] == ["closed", "closed"]
    assert made.woken == 2
    made.delivery.close()


async def test_a_breaker_that_could_not_be_shown_is_shown_later() -> None:
    made, job = Made(Node()), a_job()
    made.away = True
    await made.delivery.send(job, items("1"))
    made.away = False
    await made.send(job, *items("2"))
    assert made.shown == [("closed", "", 0.0)]
    assert sorted(made.of(Verdict.SENT)) == ["1", "2"]


async def test_what_cannot_be_made_ready_has_failed_or_waits_and_the_others_go() -> None:
    node = Node()
    node.unprepared = {"1": CannotPrepare("NoSuchCodec"), "2": PreparationUnavailable("StoreAway")}
    made, job = Made(node), a_job()
    await made.send(job, *items("1", "2", "3"))
    assert made.told[-2:] == [  # in the end: the second ends the attempt
        ("1", Outcome(FAILED, "NoSuchCodec")),
        ("2", Outcome(Verdict.RETRY, "StoreAway")),
    ]
    assert node.groups == [["3"]]


async def test_a_kind_that_nobody_sends_to_fails_for_good() -> None:
    made, job = Made(Node()), a_job()
    made.delivery.yard.senders = {}  # type: ignore[misc]
    await made.send(job, *items("1"))
    assert (job.halted, job.fault, job.fault_is_permanent) == (True, "KindNotAvailable", True)


@pytest.mark.parametrize(("priority", "number"), [("high", 1), ("medium", 0), ("low", 2)])
async def test_the_priority_of_a_job_is_that_of_its_commands(priority: str, number: int) -> None:
    node = Node()
    made, job = Made(node), a_job()
    row: Any = {"priority": priority, "originator": "", "sent": 0}
    job.row = row
    await made.send(job, *items("1"))
    assert node.priorities == [number]


async def test_a_lane_that_is_cancelled_waits_for_the_object_under_way_and_begins_no_other() -> (
    None
):
    made = Made(Node())
    begun, release = asyncio.Event(), asyncio.Event()
    ended: list[str] = []

    async def sending() -> None:
        begun.set()
        await release.wait()
        ended.append("sent")
        raise LOST

    running = asyncio.create_task(made.delivery._to_its_end(sending()))
    await begun.wait()
    running.cancel()
    await until(made.delivery.stop.is_set)
    assert not running.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended == ["sent"]


def test_a_destination_gets_as_many_associations_as_it_and_the_pool_allow() -> None:
    made: Any = Yard.at_once
    for most, pool, expected in ((4, 2, 2), (2, 4, 2), (3, 3, 3)):
        yard: Any = SimpleNamespace(pool_size=pool)
        here: Any = SimpleNamespace(spec=SimpleNamespace(max_associations=most))
        assert made(yard, here) == expected
