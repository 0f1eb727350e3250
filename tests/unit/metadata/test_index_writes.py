"""A batch is written once: lost races and clashes begin again, and nothing else does."""

import base64
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import orjson
import pytest

from darkroom_common.dicom.charset import NOTHING_ASSUMED
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.objects.store import FileSystemStore, ObjectMissing, StoreUnavailable
from darkroom_common.postgres.phi import BlindIndex, PhiKeys
from darkroom_common.postgres.pool import CLASH_ATTEMPTS
from darkroom_common.readers.ingest import CharacterSets
from darkroom_common.workers.faults import WorkerCrashed, WorkerFault, WorkerGone, WorkerTooSlow
from darkroom_metadata.indexing import indexer as indexer_module
from darkroom_metadata.indexing.extract import UNREADABLE, extract
from darkroom_metadata.indexing.filing import Filing, Place
from darkroom_metadata.indexing.indexer import (
    BEHIND_FOR_SECONDS,
    BEHIND_LAG_SECONDS,
    SENDERS_SECONDS,
    Indexer,
)
from darkroom_metadata.indexing.item import Item, LostRace
from darkroom_metadata.indexing.reading import Reading
from darkroom_metadata.indexing.repository import Outcome
from darkroom_metadata.indexing.rows import RowWriter
from tests.support.builders import a_stored_item

KEYS = PhiKeys(1, {1: base64.b64encode(b"k" * 32).decode()})
BLIND = BlindIndex(b"b" * 32)


class Index:
    """Database, inbox, repository and outbox at once; the first writes end in `errors`."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.begun = self.committed = 0
        self.told: list[Any] = []
        self.woken = 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[object]:
        self.begun += 1
        yield self
        self.committed += 1

    acquire = transaction

    def wake(self) -> None:
        self.woken += 1

    async def first_times(self, _db: object, ids: list[str]) -> set[str]:
        return set(ids)

    async def add(self, _db: object, _items: list[Item]) -> Outcome:
        if self.errors:
            raise self.errors.pop(0)
        return Outcome(messages=[])

    async def put_traced(self, _db: object, messages: list[Any]) -> None:
        self.told.append(messages)


async def written(index: Index) -> None:
    made: Any = index
    await Indexer(made, made, made, made, inbox=made)._write([an_item()])


def an_item() -> Item:
    event = a_stored_item()
    found = extract({}, study_instance_uid=event.study_instance_uid, blind=BLIND, flags=())
    return Item(event, found)


@pytest.mark.parametrize(
    "error", [LostRace("once"), asyncpg.DeadlockDetectedError(), asyncpg.SerializationError()]
)
async def test_what_another_writer_has_won_begins_again(error: Exception) -> None:
    index = Index(error)
    await written(index)
    assert (index.begun, index.committed, len(index.told)) == (2, 1, 1)


@pytest.mark.parametrize("error", [DependencyUnavailable("away"), asyncpg.DataError(), KeyError()])
async def test_any_other_error_is_raised_at_once(error: Exception) -> None:
    index = Index(error)
    with pytest.raises(type(error)):
        await written(index)
    assert (index.begun, index.committed, index.told) == (1, 0, [])


async def test_a_writer_that_loses_each_time_gives_the_batch_back() -> None:
    index = Index(*[LostRace("again")] * CLASH_ATTEMPTS)
    with pytest.raises(DependencyUnavailable):
        await written(index)
    assert (index.begun, index.committed) == (CLASH_ATTEMPTS, 0)


class Taken:
    """A database whose rows somebody else has added meanwhile: no insert adds one."""

    async def fetch(self, _sql: str, *_given: object) -> list[object]:
        return []


@pytest.mark.parametrize("of", ["instance", "study", "series"])
async def test_a_row_that_another_has_added_is_a_lost_race(of: str) -> None:
    db: Any = Taken()
    item = an_item()
    filing, rows = Filing(KEYS), RowWriter(KEYS)
    with pytest.raises(LostRace):
        match of:
            case "instance":
                await rows._instances(db, [item], [Place(1, 2)])
            case "study":
                await filing._add_studies(db, [item], {item.found.patient_key: 1}, {})
            case _:
                key = 1, item.event.series_instance_uid, item.found.modality
                await filing._add_series(db, {key: item}, {})


class Worker:
    """Answers in turn what was given, or raises it; keeps what it was asked."""

    def __init__(self, *answers: dict[str, Any] | WorkerFault) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def __call__(self, line: bytes) -> bytes:
        self.asked.append(orjson.loads(line))
        answer = self.answers.pop(0)
        if isinstance(answer, WorkerFault):
            raise answer
        return orjson.dumps(answer)


def asked(worker: Worker) -> Any:
    with ThreadPoolExecutor(1) as executor:
        reading = Reading(FileSystemStore(Path("/nowhere")), BLIND, worker, executor)
        return reading._asked(a_stored_item(), NOTHING_ASSUMED)


READ: dict[str, Any] = {"attributes": {}, "flags": ["odd"], "text": None, "places": None}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"error": "store"}, StoreUnavailable),
        ({"error": "missing"}, ObjectMissing),
        (WorkerGone(), DependencyUnavailable),
    ],
)
def test_what_passes_leaves_no_object_without_its_header(
    answer: dict[str, Any] | WorkerFault, error: type[Exception]
) -> None:
    with pytest.raises(error):
        asked(Worker(answer))


@pytest.mark.parametrize("fault", [WorkerCrashed(), WorkerTooSlow()])
def test_a_header_that_costs_a_worker_is_read_in_part_and_then_given_up(fault: WorkerFault) -> None:
    worker = Worker(fault, READ)
    assert asked(worker).flags == ("odd",)
    assert [task["few"] for task in worker.asked] == [False, True]
    worker = Worker(fault, fault)
    assert asked(worker).flags == (UNREADABLE,)
    assert asked(Worker({"error": "unreadable"})).flags == (UNREADABLE,)


class Clock:
    """A clock that a test moves."""

    seconds = 1000.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds


def test_it_is_behind_while_a_batch_of_a_moment_ago_had_waited_long() -> None:
    nothing: Any = None
    clock = Clock()
    indexer = Indexer(nothing, nothing, nothing, nothing, inbox=nothing, clock=clock)
    assert not indexer.behind, "nothing has come yet"
    for lag, ago, behind in (
        (BEHIND_LAG_SECONDS + 1, 0.0, True),
        (BEHIND_LAG_SECONDS + 1, BEHIND_FOR_SECONDS - 0.1, True),
        (BEHIND_LAG_SECONDS + 1, BEHIND_FOR_SECONDS, False),
        (BEHIND_LAG_SECONDS, 0.0, False),
        (0.0, 0.0, False),
    ):
        indexer._last_lag, indexer._last_batch = lag, clock.seconds - ago
        assert indexer.behind is behind, (lag, ago)


async def test_senders_are_looked_at_now_and_then_and_the_outbox_is_woken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index, clock, looks = Index(), Clock(), 0

    async def look(_: object) -> CharacterSets:
        nonlocal looks
        looks += 1
        return CharacterSets({})

    monkeypatch.setattr(indexer_module, "read_character_sets", look)
    made: Any = index
    with ThreadPoolExecutor(1) as executor:
        reading: Any = SimpleNamespace(executor=executor, read=lambda *_: an_item().found)
        indexer = Indexer(made, reading, made, made, inbox=made, clock=clock)
        for seconds, expected in ((0.0, 1), (SENDERS_SECONDS - 0.1, 1), (0.1, 2), (1.0, 2)):
            clock.seconds += seconds
            await indexer._index([a_stored_item()])
            assert looks == expected
    assert index.woken == 4, "what was written is published at once"
