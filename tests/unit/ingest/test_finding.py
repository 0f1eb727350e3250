"""How a query and a C-GET are answered: what is let out, and where each of them ends."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom.dataset import Dataset

from darkroom_common.dimse.serving import Answer
from darkroom_common.dimse.statuses import (
    CANCELLED,
    IDENTIFIER_DOES_NOT_MATCH,
    NOT_AUTHORISED,
    OUT_OF_RESOURCES,
    PENDING_MATCH,
    PENDING_PARTLY,
    SUB_OPERATIONS_FAILED,
    SUCCESS,
    UNABLE_TO_PROCESS,
    UNABLE_TO_SEND,
)
from darkroom_common.dimse.wire.command import CommandField, Element
from darkroom_common.dimse.wire.data_set import decode_data_set
from darkroom_common.dimse.wire.pdu import ProtocolError
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.index.query import Query
from darkroom_common.index.reader import SearchTooLong
from darkroom_common.index.rows import Json, StoredInstance, UnreadableRow
from darkroom_common.transcoding.preparing import CannotPrepare, Prepared
from darkroom_ingest.answering import get
from darkroom_ingest.answering.find import Finder, IndexModel, finding
from darkroom_ingest.answering.find import Prepared as Asked
from darkroom_ingest.answering.identifier import (
    PATIENT_ROOT,
    PATIENT_STUDY_ONLY,
    STUDY_ROOT,
    BadIdentifier,
    Options,
)
from darkroom_ingest.answering.named import MODELS
from darkroom_ingest.answering.progress import Progress
from darkroom_ingest.answering.retrieving import Found
from darkroom_ingest.senders.admission import Denied, Permit

ANY, OWN = Permit(query_rule="any"), Permit(query_rule="own")
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"


def a_request(**keys: str) -> Any:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    for name, text in keys.items():
        setattr(identifier, name, text)
    caller = SimpleNamespace(
        calling_ae_title="CT1", called_ae_title="DARKROOM", extended=dict[str, bytes]()
    )
    return SimpleNamespace(
        command=SimpleNamespace(field=CommandField.C_FIND, message_id=7),
        context=SimpleNamespace(abstract_syntax=STUDY_ROOT, transfer_syntax=EXPLICIT),
        caller=caller,
        host="",
        certificate_sha256="",
        cancelled=False,
        data_set=lambda _: identifier,
    )


def studies(count: int) -> list[Json]:
    return [{"0020000D": {"vr": "UI", "Value": [f"1.2.{n}"]}} for n in range(count)]


def a_finder(
    found: Iterator[Json] | list[Json], *, verdict: Permit | Denied = ANY, partly: bool = False
) -> Finder:
    settings: Any = SimpleNamespace(query_answers=3)
    doorkeeper: Any = SimpleNamespace(decide=lambda _: verdict)
    asked = Asked("STUDY", (), "", partly, found)
    return Finder(settings, doorkeeper, lambda *_: asked)


def statuses(answers: list[Answer]) -> list[int]:
    return [one.status for one in answers]


@pytest.mark.parametrize("verdict", [Denied.NO_ROSTER, Permit(), Permit(retrieve_rule="any")])
def test_who_may_not_ask_is_told_nothing(verdict: Permit | Denied) -> None:
    answers = list(a_finder(studies(1), verdict=verdict).answer(a_request()))
    assert statuses(answers) == [NOT_AUTHORISED]


@pytest.mark.parametrize(("partly", "pending"), [(False, PENDING_MATCH), (True, PENDING_PARTLY)])
def test_as_many_as_may_be_are_a_success(partly: bool, pending: int) -> None:
    answers = list(a_finder(studies(3), partly=partly).answer(a_request()))
    assert statuses(answers) == [pending] * 3 + [SUCCESS]
    assert all(isinstance(one.data_set, bytes) for one in answers[:3])
    assert answers[-1].data_set is None


def test_one_more_than_may_be_is_none() -> None:
    answers = list(a_finder(studies(4)).answer(a_request()))
    assert statuses(answers) == [PENDING_MATCH] * 3 + [OUT_OF_RESOURCES]


def test_who_cancels_gets_no_other() -> None:
    request = a_request()
    read: list[int] = []

    def coming() -> Iterator[Json]:
        for number, one in enumerate(studies(3)):
            read.append(number)
            yield one

    answers = a_finder(coming()).answer(request)
    assert next(answers).status == PENDING_MATCH
    request.cancelled = True
    assert statuses(list(answers)) == [CANCELLED]
    assert read == [0]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SearchTooLong("too long"), OUT_OF_RESOURCES),
        (DependencyUnavailable("away"), OUT_OF_RESOURCES),
        (UnreadableRow("no key"), UNABLE_TO_PROCESS),
    ],
)
def test_what_breaks_off_is_no_success(error: Exception, status: int) -> None:
    def coming() -> Iterator[Json]:
        yield from studies(1)
        raise error

    answers = list(a_finder(coming()).answer(a_request()))
    assert statuses(answers) == [PENDING_MATCH, status]
    assert Element.ERROR_COMMENT in answers[-1].elements


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BadIdentifier("00080052", "none"), IDENTIFIER_DOES_NOT_MATCH),
        (ProtocolError("no-data-set"), UNABLE_TO_PROCESS),
    ],
)
def test_what_is_no_query_is_refused(error: Exception, status: int) -> None:
    finder = a_finder([])

    def prepare(*_: object) -> Asked:
        raise error

    finder._prepare = prepare
    answers = list(finder.answer(a_request()))
    assert statuses(answers) == [status]
    assert (Element.OFFENDING_ELEMENT in answers[0].elements) == (
        status == IDENTIFIER_DOES_NOT_MATCH
    )


@dataclass
class Index:
    """What the index has found, and what it was asked."""

    found: list[Json] = field(default_factory=list)
    asked: list[Query] = field(default_factory=list)

    def pages(self, query: Query, *, seconds: float) -> Iterator[list[Json]]:
        assert seconds == 9.0
        self.asked.append(query)
        yield self.found


def a_model(index: Index, **settings: str) -> IndexModel:
    usual = {"query_seconds": 9.0, "query_relational": "agreed", "query_fuzzy": "agreed"}
    given: Any = SimpleNamespace(**usual | settings)
    archive: Any = index
    return IndexModel(given, archive)


def test_whose_are_its_own_alone_sees_no_others() -> None:
    index = Index(studies(1))
    for permit in (OWN, ANY):
        list(a_model(index)(a_request(StudyInstanceUID=""), permit).answers)
    assert [one.sources for one in index.asked] == [("CT1",), ()]


def test_text_is_matched_as_it_is_spelled_and_says_where_it_is() -> None:
    known = [
        {"00081030": {"vr": "LO", "Value": [text]}, "00100010": {"vr": "PN", "Value": []}}
        for text in ("Thorax", "THORAX", "thorax ap")
    ]
    asked = a_model(Index(known))(a_request(StudyDescription="Thorax", PatientName="x*"), ANY)
    (answer,) = asked.answers
    assert answer["00081030"]["Value"] == ["Thorax"]
    assert answer["00080054"]["Value"] == ["DARKROOM"]
    assert answer["00080052"]["Value"] == ["STUDY"]


@pytest.mark.parametrize(
    ("extended", "setting", "is_relational"),
    [(b"", "agreed", False), (b"", "always", True), (b"\1", "agreed", True), (b"\0", "x", False)],
)
def test_a_relational_query_is_agreed_on(
    extended: bytes, setting: str, is_relational: bool
) -> None:
    request = a_request(SeriesInstanceUID="1.3")
    request.data_set(None).QueryRetrieveLevel = "SERIES"
    request.caller.extended[STUDY_ROOT] = extended
    model = a_model(Index(), query_relational=setting)
    if is_relational:
        assert model(request, ANY).level == "SERIES"
    else:
        with pytest.raises(BadIdentifier):
            model(request, ANY)


@pytest.mark.parametrize(
    ("extended", "settings", "expected"),
    [
        (b"", {}, Options()),
        (b"\0\0\1", {}, Options(fuzzy=True)),
        (b"\0\1\0", {}, Options(combined=True)),
        (b"\1", {"query_fuzzy": "always"}, Options(relational=True, fuzzy=True)),
    ],
)
def test_what_was_agreed_on_is_what_is_done(
    extended: bytes, settings: dict[str, str], expected: Options
) -> None:
    request = a_request()
    request.caller.extended[STUDY_ROOT] = extended
    assert a_model(Index(), **settings)._options(request) == expected


def test_every_model_is_served() -> None:
    settings: Any = SimpleNamespace()
    nobody: Any = None
    served = finding(settings, nobody, nobody)
    assert set(served.sop_classes) == {STUDY_ROOT, PATIENT_ROOT, PATIENT_STUDY_ONLY}
    assert list(served.handlers) == [CommandField.C_FIND]
    asked = get.getting(nobody)
    assert set(asked.sop_classes) == {model["get"] for model in MODELS}
    assert list(asked.handlers) == [CommandField.C_GET]


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_an_answer_is_in_the_transfer_syntax_of_its_context(syntax: str) -> None:
    request = a_request()
    request.context.transfer_syntax = syntax
    answer, _ = a_finder(studies(1)).answer(request)
    assert isinstance(answer.data_set, bytes)
    assert decode_data_set(answer.data_set, syntax).StudyInstanceUID == "1.2.0"


@dataclass
class Shelf:
    """Makes objects ready in a loop of its own; counts what is held."""

    directory: Path
    unwilling: frozenset[str] = frozenset()
    held: int = 0
    most: int = 0
    loop: asyncio.Runner = field(default_factory=asyncio.Runner)

    def begin(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(self.loop.run(work))
        return done

    async def preparer(self) -> Any:
        return self

    def at_once(self, one: StoredInstance, _: tuple[str, ...]) -> None:
        """Say that none is ready as it is stored."""

    @asynccontextmanager
    async def prepare(self, one: StoredInstance, syntaxes: tuple[str, ...]) -> AsyncIterator[Any]:
        if one.sop_instance_uid in self.unwilling:
            raise CannotPrepare("Unconvertible")
        path = self.directory / one.sop_instance_uid
        path.write_bytes(b"ab" * 5)
        self.held += 1
        self.most = max(self.most, self.held)
        yield Prepared(path, 0, 10, one.sop_class_uid, one.sop_instance_uid, syntaxes[0])
        self.held -= 1


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path)
    yield made
    made.loop.close()


@dataclass
class Asker:
    """Takes objects, and answers each by a script."""

    answers: list[int]
    accepted: dict[tuple[str, str], int] = field(default_factory=lambda: {(CT, EXPLICIT): 1})
    max_length: int = 16_384
    cancelled: set[int] = field(default_factory=set)
    got: int = 0
    number: int = 0

    def next_message_id(self) -> int:
        self.number += 1
        return self.number

    def send(self, *_: object, deadline: float) -> None:
        assert deadline > 0
        self.got += 1

    def response(self, message: int) -> Any:
        assert message == self.number
        return SimpleNamespace(status=self.answers.pop(0))


def an_instance(number: int, sop_class: str = CT) -> StoredInstance:
    return StoredInstance(
        number, "1.2", "1.3", f"1.4.{number}", sop_class, EXPLICIT, "k", 10, 0, b""
    )


def gotten(
    shelf: Shelf, asker: Asker, instances: list[StoredInstance], seconds: float = 60.0
) -> tuple[list[Answer], Answer, Progress]:
    """Return pending answers, the last one, and how far it came."""
    desk: Any = SimpleNamespace(archive=shelf, settings=SimpleNamespace(retrieve_seconds=seconds))
    request, progress = a_request(), Progress(len(instances))
    request.back = asker
    coming = get._get(desk, request, Found("STUDY", instances), progress)
    pending = []
    while True:
        try:
            pending.append(next(coming))
        except StopIteration as end:
            last: Answer = end.value
            return pending, last, progress


def test_each_is_counted_by_what_it_was_answered(shelf: Shelf) -> None:
    shelf.unwilling = frozenset({"1.4.4"})
    asker = Asker([SUCCESS, 0xB000, 0xA700, SUCCESS])
    instances = [*(an_instance(n) for n in range(5)), an_instance(5, MR)]
    _, last, progress = gotten(shelf, asker, instances)
    assert (progress.completed, progress.warned, progress.failed, progress.remaining) == (
        *(2, 1, 3),
        0,
    )
    assert last.status == SUB_OPERATIONS_FAILED
    assert isinstance(last.data_set, Dataset)
    assert set(last.data_set.FailedSOPInstanceUIDList) == {"1.4.2", "1.4.4", "1.4.5"}
    assert asker.got == 4
    assert shelf.held == 0


def test_few_are_made_ready_at_a_time_and_none_is_kept(shelf: Shelf) -> None:
    instances = [an_instance(n) for n in range(60)]
    pending, last, _ = gotten(shelf, Asker([SUCCESS] * len(instances)), instances)
    assert last.status == SUCCESS
    assert (shelf.held, shelf.most) == (0, 2 * get.NEXT)
    assert 1 <= len(pending) < len(instances)
    assert all(one.status == PENDING_MATCH for one in pending)


def test_who_cancels_is_sent_no_other(shelf: Shelf) -> None:
    asker = Asker([SUCCESS])
    asker.cancelled.add(7)
    _, last, progress = gotten(shelf, asker, [an_instance(n) for n in range(30)])
    assert (last.status, asker.got) == (CANCELLED, 0)
    assert progress.remaining == 30
    assert shelf.held == 0


def test_what_takes_too_long_has_failed(shelf: Shelf) -> None:
    asker = Asker([SUCCESS])
    _, last, progress = gotten(shelf, asker, [an_instance(n) for n in range(30)], seconds=-1.0)
    assert (last.status, asker.got) == (UNABLE_TO_SEND, 0)
    assert isinstance(last.data_set, Dataset)
    assert list(last.data_set.FailedSOPInstanceUIDList) == [f"1.4.{n}" for n in range(30)]
    assert (progress.failed, progress.remaining, shelf.held) == (30, 0, 0)
