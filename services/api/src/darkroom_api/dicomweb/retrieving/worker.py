"""`python -m darkroom_api.dicomweb.retrieving.worker`: finds frames and values in objects.

No object is parsed or inflated in the API's own process: one that is hostile costs a worker, which
has little memory, and its own request alone. A task is a line of JSON; so is the answer: where the
values are in the object, or how long they are, and then their bytes follow.
"""

import struct
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

import orjson

from darkroom_api.dicomweb.retrieving.bulk import NoSuchValue, find_value, parse_path
from darkroom_api.dicomweb.retrieving.fragments import NoPixels
from darkroom_api.dicomweb.retrieving.pixels import NoSuchFrame, Values, find_frames
from darkroom_common.dicom.stored import stored_object
from darkroom_common.dicom.walk import Unreadable
from darkroom_common.objects.store import ObjectMissing, ObjectStore, StoreUnavailable, open_store
from darkroom_common.workers.answering import answer_tasks

STORE: Final = "store"
MISSING: Final = "missing"
NO_FRAME: Final = "no-frame"
UNREADABLE: Final = "unreadable"
_UNREADABLE: Final = (
    NoPixels,
    NoSuchValue,
    Unreadable,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    struct.error,
    EOFError,
    NotImplementedError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)
"""What reading raises of an object that does not have what is asked for, or is broken."""


def answer(store: ObjectStore, line: bytes) -> Iterable[bytes]:
    """Yield the answer to a task, and then the bytes that had to be made.

    Args:
        store: has the object.
        line: JSON with `key`, `syntax`, `start` and `size` of the data set, and with `frames`
            (numbers from 0, or null for all), or with `path`.
    """
    task = orjson.loads(line)
    with ExitStack() as held:
        try:
            found = _find(store, task, held)
        except ObjectMissing:
            yield _error(MISSING)
        except (StoreUnavailable, OSError):
            yield _error(STORE)
        except NoSuchFrame:
            yield _error(NO_FRAME)
        except _UNREADABLE:
            yield _error(UNREADABLE)
        else:
            yield orjson.dumps({"lengths": list(found.lengths), "places": found.places}) + b"\n"
            yield from found.made


def _find(store: ObjectStore, task: dict[str, Any], held: ExitStack) -> Values:
    file = held.enter_context(store.open_now(task["key"]))
    place = task["syntax"], task["start"], task["size"]
    stored = held.enter_context(stored_object(file, *place))
    if "path" in task:
        return find_value(stored, parse_path(task["path"]))
    return find_frames(stored, task["frames"])


def _error(word: str) -> bytes:
    return orjson.dumps({"error": word}) + b"\n"


if __name__ == "__main__":
    answer_tasks(partial(answer, open_store(sys.argv[2])))
