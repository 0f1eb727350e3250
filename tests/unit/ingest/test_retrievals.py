"""What a retrieval may be, and how one that others carry out is followed; without any of them."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom.dataset import Dataset

from darkroom_common.amqp.broker import BrokerUnavailable, NoReply
from darkroom_common.dimse.serving import Answer
from darkroom_common.dimse.statuses import (
    CANCELLED,
    IDENTIFIER_DOES_NOT_MATCH,
    MOVE_DESTINATION_UNKNOWN,
    NOT_AUTHORISED,
    PENDING_MATCH,
    SUB_OPERATIONS_FAILED,
    SUCCESS,
    UNABLE_TO_COUNT,
    UNABLE_TO_PROCESS,
    UNABLE_TO_SEND,
)
from darkroom_common.dimse.wire.command import CommandField, Element
from darkroom_common.errors import DependencyUnavailable, TransientError
from darkroom_common.index.objects import Wanted
from darkroom_common.index.rows import StoredInstance, UnreadableRow
from darkroom_common.messages.base import Message, Reply, Request
from darkroom_common.messages.commands import SendObjects
from darkroom_common.messages.requests import ActOnJob, FindDestination, FollowJob
from darkroom_ingest.answering import move
from darkroom_ingest.answering.named import STUDY_ROOT
from darkroom_ingest.answering.retrieving import Desk, Refused
from darkroom_ingest.senders.admission import Denied, Permit

ANY, OWN = Permit(retrieve_rule="any"), Permit(retrieve_rule="own")
THERE = Reply(outcome="done", body={"name": "PACS", "id": "b" * 32, "moves": 1})


def an_instance(number: int, size: int = 10) -> StoredInstance:
    return StoredInstance(number, "1.2", "1.3", f"1.4.{number}", "1.5", "1.6", "k", size, 0, b"")


def told(sent: int = 0, failed: int = 0, warned: int = 0, **more: Any) -> Reply:
    body = {"over": False, "sent": sent, "failed": failed, "warned": warned}
    return Reply(outcome="done", body=body | more)


@dataclass
class Archive:
    """An index of some instances, and a transmit that answers by a script; it moves the clock."""

    instances: list[StoredInstance] = field(default_factory=lambda: [an_instance(1)])
    destination: Reply | Exception = THERE
    looks: list[Reply | Exception] = field(default_factory=list)
    publishes: Callable[[], None] = lambda: None
    clock: float = 1000.0
    quick: bool = False
    wanted: list[tuple[Wanted, int]] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)
    published: list[Message] = field(default_factory=list)

    def stored(self, wanted: Wanted, *, most: int) -> list[StoredInstance]:
        self.wanted.append((wanted, most))
        return self.instances

    def ask(self, question: Request, *, within: float = 0.0) -> Reply:
        self.asked.append(question)
        self.clock += 0.0 if self.quick else within
        if isinstance(question, FindDestination):
            reply: Reply | Exception = self.destination
        elif isinstance(question, FollowJob):
            self.clock += 0.0 if self.quick else 1.0
            reply = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        else:
            reply = Reply(outcome="done")
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def broker(self) -> Any:
        return self

    async def publish(self, message: Message) -> None:
        self.publishes()
        self.published.append(message)

    def begin(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(asyncio.run(work))
        except (TransientError, TimeoutError) as error:
            done.set_exception(error)
        return done

    def of(self, kind: type[Request]) -> list[Any]:
        return [one for one in self.asked if isinstance(one, kind)]


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> Archive:
    made = Archive()
    monkeypatch.setattr(move, "monotonic", lambda: made.clock)
    return made


def a_desk(archive: Archive, verdict: Permit | Denied = ANY, **settings: Any) -> Desk:
    usual = {
        "query_relational": "always",
        "retrieve_instances": 3,
        "retrieve_bytes": 100,
        "retrieve_moves": 2,
        "retrieve_seconds": 600.0,
        "move_silence_seconds": 300.0,
    }
    doorkeeper: Any = SimpleNamespace(decide=lambda _: verdict)
    given: Any = SimpleNamespace(**usual | settings)
    asked: Any = archive
    return Desk(given, asked, doorkeeper)


def a_request(*, title: str = "PACS", priority: int = 0, level: str = "STUDY") -> Any:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    identifier.StudyInstanceUID = "1.2"
    return SimpleNamespace(
        command=SimpleNamespace(
            field=CommandField.C_MOVE, message_id=7, text=lambda _: title, short=lambda _: priority
        ),
        context=SimpleNamespace(abstract_syntax=STUDY_ROOT["move"]),
        caller=SimpleNamespace(
            calling_ae_title="CT1", called_ae_title="DARKROOM", extended=dict[str, bytes]()
        ),
        host="",
        certificate_sha256="",
        cancelled=False,
        back=None,
        data_set=lambda _: identifier,
    )


def answers(desk: Desk, request: Any) -> list[Answer]:
    (handler,) = move.moving(desk).handlers.values()
    return list(handler.answer(request))


def counts(answer: Answer) -> tuple[Any, ...]:
    names = (Element.COMPLETED, Element.FAILED, Element.WARNED, Element.REMAINING)
    return tuple(answer.elements.get(name) for name in names)


@pytest.mark.parametrize("verdict", [Denied.NO_ROSTER, Permit(), Permit(query_rule="any")])
def test_who_may_not_retrieve_learns_nothing(archive: Archive, verdict: Permit | Denied) -> None:
    (answer,) = answers(a_desk(archive, verdict), a_request())
    assert answer.status == NOT_AUTHORISED
    assert archive.wanted == []
    assert archive.asked == []


def test_whose_are_its_own_alone_gets_no_others(archive: Archive) -> None:
    a_desk(archive, OWN).find(a_request())
    a_desk(archive, ANY).find(a_request())
    (own, most), (every, _) = archive.wanted
    assert (own.sources, every.sources, most) == (("CT1",), (), 3)


@pytest.mark.parametrize(
    ("extended", "setting", "is_relational"),
    [(b"\1\1", "always", True), (b"\1", "agreed", True), (b"\0", "agreed", False)],
)
def test_levels_above_are_left_out_where_that_was_agreed_on(
    archive: Archive, extended: bytes, setting: str, is_relational: bool
) -> None:
    request = a_request(level="SERIES")
    identifier = request.data_set(None)
    del identifier.StudyInstanceUID
    identifier.SeriesInstanceUID = "1.3"
    request.caller.extended[STUDY_ROOT["move"]] = extended
    desk = a_desk(archive, query_relational=setting)
    if is_relational:
        assert desk.find(request).level == "SERIES"
        return
    with pytest.raises(Refused):
        desk.find(request)


def test_who_does_not_answer_is_not_asked_without_a_pause(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused: list[float] = []

    async def pause(seconds: float) -> None:
        paused.append(seconds)
        archive.clock += seconds

    monkeypatch.setattr(asyncio, "sleep", pause)
    monkeypatch.setattr(move, "FIRST_LOOK", 1.5)
    archive.quick = True
    archive.looks = [BrokerUnavailable("away"), told(sent=1, over=True, failed_uids=[])]
    *_, last = answers(a_desk(archive), a_request())
    assert (last.status, paused) == (SUCCESS, [1.5])


@pytest.mark.parametrize(
    ("instances", "status"),
    [
        ([an_instance(n) for n in range(3)], None),
        ([an_instance(n) for n in range(4)], UNABLE_TO_COUNT),
        ([an_instance(1, 60), an_instance(2, 40)], None),
        ([an_instance(1, 60), an_instance(2, 41)], UNABLE_TO_SEND),
    ],
)
def test_no_more_is_retrieved_than_may_be(
    archive: Archive, instances: list[StoredInstance], status: int | None
) -> None:
    archive.instances = instances
    if status is None:
        assert a_desk(archive).find(a_request()).instances == instances
        return
    with pytest.raises(Refused) as refused:
        a_desk(archive).find(a_request())
    assert refused.value.answer.status == status


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DependencyUnavailable("away"), UNABLE_TO_COUNT),
        (UnreadableRow("no key"), UNABLE_TO_PROCESS),
    ],
)
def test_an_index_that_says_nothing_is_a_failure(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    def stored(*_: object, **__: object) -> list[StoredInstance]:
        raise error

    monkeypatch.setattr(archive, "stored", stored)
    (answer,) = answers(a_desk(archive), a_request())
    assert answer.status == status
    assert archive.asked == []


def test_an_identifier_that_is_none_names_the_attribute(archive: Archive) -> None:
    (answer,) = answers(a_desk(archive), a_request(level="PATIENT"))
    assert answer.status == IDENTIFIER_DOES_NOT_MATCH
    assert Element.OFFENDING_ELEMENT in answer.elements


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (Reply(outcome="not-found"), MOVE_DESTINATION_UNKNOWN),
        (Reply(outcome="unavailable"), UNABLE_TO_SEND),
        (NoReply("away"), UNABLE_TO_SEND),
        (BrokerUnavailable("away"), UNABLE_TO_SEND),
        (Reply(outcome="done", body=THERE.body | {"moves": 2}), UNABLE_TO_SEND),
    ],
)
def test_nothing_is_ordered_for_a_destination_that_nobody_vouches_for(
    archive: Archive, reply: Reply | Exception, status: int
) -> None:
    archive.destination = reply
    (answer,) = answers(a_desk(archive), a_request())
    assert answer.status == status
    assert archive.published == []


@pytest.mark.parametrize("title", ["", "  ", "a\\b", "longer than sixteen"])
def test_what_is_no_title_is_not_asked_for(archive: Archive, title: str) -> None:
    (answer,) = answers(a_desk(archive), a_request(title=title))
    assert (answer.status, archive.asked) == (MOVE_DESTINATION_UNKNOWN, [])


def test_of_nothing_nothing_is_ordered(archive: Archive) -> None:
    archive.instances = []
    (answer,) = answers(a_desk(archive), a_request())
    assert (answer.status, counts(answer)) == (SUCCESS, (0, 0, 0, None))
    assert archive.published == []


@pytest.mark.parametrize(
    ("priority", "word"), [(0, "medium"), (1, "high"), (2, "low"), (9, "medium")]
)
def test_it_is_ordered_once_in_the_name_of_who_asks(
    archive: Archive, priority: int, word: str
) -> None:
    archive.instances = [an_instance(1), an_instance(2), an_instance(1)]
    archive.looks = [told(sent=2, over=True)]
    answers(a_desk(archive), a_request(priority=priority))
    (order,) = archive.published
    assert isinstance(order, SendObjects)
    assert order.sop_instance_uids == ("1.4.1", "1.4.2")
    assert (order.destination, order.destination_id) == ("PACS", "b" * 32)
    assert (order.originator, order.originator_message_id) == ("CT1", 7)
    assert (order.requested_by, order.priority, order.most_moves) == ("C-MOVE CT1", word, 2)
    assert {one.job_id for one in archive.of(FollowJob)} == {order.job_id}
    (question,) = archive.of(FindDestination)
    assert (question.ae_title, question.originator) == ("PACS", "CT1")


@pytest.mark.parametrize("error", [BrokerUnavailable("away"), TimeoutError()])
def test_an_order_that_may_have_been_lost_is_no_success(archive: Archive, error: Exception) -> None:
    def publishes() -> None:
        raise error

    archive.publishes = publishes
    (answer,) = answers(a_desk(archive), a_request())
    assert answer.status == UNABLE_TO_SEND
    assert archive.of(FollowJob) == []


def test_what_was_sent_warned_of_and_lost_is_told(archive: Archive) -> None:
    archive.instances = [an_instance(n) for n in range(3)]
    archive.looks = [
        told(),
        BrokerUnavailable("away"),
        Reply(outcome="not-found"),
        told(sent=1),
        told(sent=2, warned=1, failed=1, over=True),
        told(sent=2, warned=1, failed=1, over=True, failed_uids=["1.4.2"], left_uids=[]),
    ]
    *pending, last = answers(a_desk(archive), a_request())
    assert {one.status for one in pending} == {PENDING_MATCH}
    assert [counts(one) for one in pending] == [(0, 0, 0, 3)] * 3 + [(1, 0, 0, 2)]
    assert (last.status, counts(last)) == (SUB_OPERATIONS_FAILED, (1, 1, 1, None))
    assert isinstance(last.data_set, Dataset)
    assert last.data_set.FailedSOPInstanceUIDList == "1.4.2"
    assert archive.of(ActOnJob) == []
    assert [one.named for one in archive.of(FollowJob)] == [False] * 5 + [True]


def test_what_is_left_of_a_job_that_is_over_has_failed(archive: Archive) -> None:
    archive.instances = [an_instance(n) for n in range(3)]
    archive.looks = [told(sent=1, over=True, failed_uids=[], left_uids=["1.4.1", "1.4.2"])]
    (last,) = answers(a_desk(archive), a_request())
    assert (last.status, counts(last)) == (SUB_OPERATIONS_FAILED, (1, 2, 0, None))
    assert isinstance(last.data_set, Dataset)
    assert list(last.data_set.FailedSOPInstanceUIDList) == ["1.4.1", "1.4.2"]


@pytest.mark.parametrize(
    ("settings", "looks"),
    [
        ({"retrieve_seconds": 5.0}, [told(sent=n) for n in range(1, 9)]),
        ({"move_silence_seconds": 5.0}, [told(sent=1)]),
    ],
)
def test_what_takes_too_long_is_cancelled_and_all_of_it_failed_as_far_as_is_known(
    archive: Archive, settings: dict[str, Any], looks: list[Reply | Exception]
) -> None:
    archive.instances = [an_instance(n) for n in range(20)]
    archive.looks = looks
    *pending, last = answers(
        a_desk(archive, retrieve_instances=20, retrieve_bytes=1000, **settings), a_request()
    )
    assert 3 <= len(pending) <= 6
    (cancel,) = archive.of(ActOnJob)
    (order,) = archive.published
    assert isinstance(order, SendObjects)
    assert (cancel.job_id, cancel.action, cancel.requested_by) == (
        order.job_id,
        "cancel",
        "C-MOVE CT1",
    )
    completed, failed, _, remaining = counts(last)
    assert (completed + failed, remaining) == (20, None)
    assert last.status == SUB_OPERATIONS_FAILED
    assert isinstance(last.data_set, Dataset)
    assert len(last.data_set.FailedSOPInstanceUIDList) == 20


def test_what_moves_on_is_not_given_up_for_silence(archive: Archive) -> None:
    archive.instances = [an_instance(n) for n in range(20)]
    archive.looks = [*(told(sent=n) for n in range(1, 20)), *[told(sent=20, over=True)] * 2]
    desk = a_desk(archive, retrieve_instances=20, retrieve_bytes=1000, move_silence_seconds=5.0)
    *_, last = answers(desk, a_request())
    assert (last.status, counts(last)) == (SUCCESS, (20, 0, 0, None))
    assert archive.of(ActOnJob) == []


def test_who_cancels_hears_what_remains(archive: Archive) -> None:
    archive.instances = [an_instance(n) for n in range(3)]
    archive.looks = [
        told(sent=1),
        told(sent=1),  # the one under way is finished
        told(sent=2, over=True, failed_uids=[], left_uids=["1.4.2"]),
    ]
    request = a_request()
    desk = a_desk(archive)
    (handler,) = move.moving(desk).handlers.values()
    found: Iterator[Answer] = iter(handler.answer(request))
    assert next(found).status == PENDING_MATCH
    request.cancelled = True
    (last,) = found
    assert (last.status, counts(last)) == (CANCELLED, (2, 0, 0, 1))
    assert [one.action for one in archive.of(ActOnJob)] == ["cancel"]
