"""`python -m darkroom_api.validation.worker`: validates objects, one after the other.

A task is a line of JSON, and for an upload its bytes after that; the answer is a line of JSON.
"""

import io
import sys
from collections.abc import Iterable
from functools import partial
from typing import Any, BinaryIO, Final

import orjson

from darkroom_api.validation.form import NoFile, file_in
from darkroom_common.dicom.walk import Unreadable
from darkroom_common.objects.store import ObjectMissing, ObjectStore, StoreUnavailable, open_store
from darkroom_common.validation.table import the_table
from darkroom_common.validation.validate import validate
from darkroom_common.workers.answering import answer_tasks

NO_FILE: Final = "no-file"
UNREADABLE: Final = "unreadable"
MISSING: Final = "missing"
STORE: Final = "store"
TOO_MUCH: Final = "too-much"


def answer(store: ObjectStore, uploads: BinaryIO, line: bytes) -> Iterable[bytes]:
    """Yield the answer to a task.

    Args:
        store: has the object of a task with `key`.
        uploads: has the bytes of a task with `size`, a form when it has a `boundary`.
        line: the task.
    """
    yield orjson.dumps(_answer(store, uploads, orjson.loads(line))) + b"\n"


_FAULTS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (NoFile, NO_FILE),
    (Unreadable, UNREADABLE),
    (ObjectMissing, MISSING),
    (StoreUnavailable, STORE),
    (OSError, STORE),
    (MemoryError, TOO_MUCH),
    (RecursionError, TOO_MUCH),
)


def _answer(store: ObjectStore, uploads: BinaryIO, task: dict[str, Any]) -> dict[str, Any]:
    try:
        if "key" in task:
            with store.open_now(task["key"]) as file:
                return validate(file).to_json()
        body = uploads.read(task["size"])
        boundary = task["boundary"]
        part = file_in(body, boundary.encode("latin-1")) if boundary else body
        return validate(io.BytesIO(part)).to_json()
    except tuple(kind for kind, _ in _FAULTS) as error:
        return {"error": next(word for kind, word in _FAULTS if isinstance(error, kind))}


if __name__ == "__main__":
    the_table()
    answer_tasks(partial(answer, open_store(sys.argv[2]), sys.stdin.buffer))
