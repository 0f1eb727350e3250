"""Reads the headers of stored objects, in threads.

Ordinary ones are read here, the fast way, which costs no more than their first bytes. All others
are read by workers, which have little memory and time: an object that is made to cost is indexed
by the few attributes that rows are made of, and flagged.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, BinaryIO, Final

import orjson

from darkroom_common.dicom.charset import NOTHING_ASSUMED, Assumed, TextReader
from darkroom_common.dicom.headers import Unusual, read_json
from darkroom_common.dicom.heads import DEFLATED, Encoding
from darkroom_common.dicom.json_values import JsonDataset
from darkroom_common.dicom.part10 import HEAD_LIMIT
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.messages.events import StoredItem
from darkroom_common.objects.store import ObjectMissing, ObjectStore, StoreUnavailable, open_store
from darkroom_common.postgres.phi import BlindIndex, decode_key
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.workers.faults import WorkerCrashed, WorkerGone, WorkerTooSlow
from darkroom_common.workers.pool import open_workers
from darkroom_metadata.indexing import worker
from darkroom_metadata.indexing.extract import UNREADABLE, Extracted, extract
from darkroom_metadata.settings import MetadataSettings

log = get_logger(__name__)
Ask = Callable[[bytes], bytes]
"""Does a task of `worker`, in a thread that may block; raises as `Workers.ask`."""
MEMORY: Final = 1 << 30
"""Bytes of address space of a worker."""
LIMIT: Final = 20.0
"""Seconds for one header."""
LONGEST: Final = 64 << 20
"""Bytes of a header as JSON."""
PROCESSES: Final = 2


@dataclass(frozen=True)
class Header:
    """What was read of an object.

    Attributes:
        attributes: as DICOM JSON, those at least that rows are made of.
        flags: what there is to say of it.
        text: the whole header; None: `attributes` is that.
        frame_places: of compressed pixel data, see `objects.frame_places`.
    """

    attributes: JsonDataset
    flags: tuple[str, ...] = ()
    text: str | None = None
    frame_places: bytes | None = None


@dataclass(frozen=True)
class Reading:
    """Reads objects of a store.

    Attributes:
        store: has the objects.
        blind: makes the tokens.
        ask: reads what is not ordinary.
        executor: has the threads for that.
    """

    store: ObjectStore
    blind: BlindIndex
    ask: Ask
    executor: Executor

    def read(self, event: StoredItem, assumed: Assumed = NOTHING_ASSUMED) -> Extracted:
        """Return what the index keeps of a stored object, in a thread that may block.

        What cannot be read as DICOM is flagged: accepted is accepted, the index has what is known.

        Args:
            event: tells of it.
            assumed: of the text of its sender.

        Raises:
            ObjectMissing: it is not where its message says.
            StoreUnavailable, DependencyUnavailable: the store is away; no worker.
        """
        with self.store.open_now(event.object_key) as file:
            head = hashlib.sha256(file.read(min(event.data_set_offset, HEAD_LIMIT))).digest()
            try:
                header = ordinary_header(event, file, assumed)
            except Unusual:
                header = self._asked(event, assumed)
        found = extract(
            header.attributes,
            study_instance_uid=event.study_instance_uid,
            blind=self.blind,
            flags=tuple(dict.fromkeys((*event.flags, *header.flags))),
            text=header.text,
        )
        return replace(found, head_sha256=head, frame_places=header.frame_places)

    def _asked(self, event: StoredItem, assumed: Assumed) -> Header:
        task = {
            "key": event.object_key,
            "syntax": event.transfer_syntax_uid,
            "start": event.data_set_offset,
            "size": event.size,
            "assumed": asdict(assumed),
        }
        for few in (False, True):
            try:
                answer = orjson.loads(self.ask(orjson.dumps(task | {"few": few}) + b"\n"))
            except (WorkerCrashed, WorkerTooSlow):
                continue
            except WorkerGone as error:
                raise DependencyUnavailable("a worker was gone") from error
            return _header(answer, event)
        log.warning("header.unreadable", receipt=event.receipt, reason="it takes too much")
        return Header({}, (UNREADABLE,))


def ordinary_header(event: StoredItem, file: BinaryIO, assumed: Assumed) -> Header:
    """Return the header of an object that is as most are.

    Raises:
        Unusual: it is not.
        OSError: the file cannot be read.
    """
    syntax = event.transfer_syntax_uid
    encoding = Encoding.of(syntax)
    if encoding.big or syntax in DEFLATED:
        raise Unusual

    def read(at: int, count: int) -> bytes:
        file.seek(event.data_set_offset + at)
        return file.read(count)

    text = TextReader(assumed)
    items: list[tuple[int, int]] = []
    found = read_json(read, event.size, implicit=encoding.implicit, text=text, items=items)
    places = worker.places_of(found, items, syntax, event.data_set_offset)
    return Header(found, tuple(sorted(text.flags)), frame_places=places)


def _header(answer: dict[str, Any], event: StoredItem) -> Header:
    if answer.get("error") == worker.MISSING:
        raise ObjectMissing("there is no such object")
    if answer.get("error") == worker.STORE:
        raise StoreUnavailable("the store is away")
    if "error" in answer:
        log.warning("header.unreadable", receipt=event.receipt, reason=answer["error"])
        return Header({}, (UNREADABLE,))
    places = answer["places"] and bytes.fromhex(answer["places"])
    return Header(answer["attributes"], tuple(answer["flags"]), answer["text"], places)


@asynccontextmanager
async def open_reading(settings: MetadataSettings) -> AsyncIterator[Reading]:
    """Hold the threads that read headers, and the workers that read what is not ordinary."""
    loop = asyncio.get_running_loop()
    key = decode_key(settings.blind_index_key.get_secret_value(), setting="BLIND_INDEX_KEY")
    store, command = settings.store_url, (worker.__name__, str(MEMORY), settings.store_url)
    with ThreadPoolExecutor(PROCESSES, thread_name_prefix="header") as executor:
        async with open_workers(*command, processes=PROCESSES, longest=LONGEST) as workers:

            def ask(line: bytes) -> bytes:
                return asyncio.run_coroutine_threadsafe(workers.ask(line, LIMIT), loop).result()

            yield Reading(open_store(store), BlindIndex(key), ask, executor)
