"""The header of a DICOM file as the index has it, without its being stored first."""

import io
from concurrent.futures import Executor
from typing import Any, BinaryIO, cast

from darkroom_common.dicom.json_values import JsonDataset
from darkroom_common.dicom.stored import stored_file
from darkroom_common.messages.events import StoredItem
from darkroom_common.objects.store import ObjectStore
from darkroom_common.postgres.phi import BlindIndex
from darkroom_metadata.indexing import worker
from darkroom_metadata.indexing.extract import Extracted
from darkroom_metadata.indexing.reading import Reading
from darkroom_metadata.indexing.worker import read_header


def header_in(content: bytes) -> JsonDataset:
    """Return the header of a file, read the slow way.

    Raises:
        Unreadable: it has no head as ours.
        Exception: pydicom cannot read it.
    """
    with stored_file(io.BytesIO(content)) as (stored, _):
        return read_header(stored)[0]


class OneObject:
    """A store that has this object under every key."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def open_now(self, _: str) -> BinaryIO:
        """Open it."""
        return io.BytesIO(self._content)


def reading_here(store: ObjectStore, blind: BlindIndex, executor: Executor) -> Reading:
    """Return what reads objects without processes of its own: as its workers would."""

    def ask(line: bytes) -> bytes:
        return b"".join(worker.answer(store, line))

    return Reading(store, blind, ask, executor)


def read_one(event: StoredItem, content: bytes, blind: BlindIndex) -> Extracted:
    """Return what the index keeps of an object, as the indexer reads it."""
    nothing = cast("Any", None)
    return reading_here(cast("ObjectStore", OneObject(content)), blind, nothing).read(event)
