"""`python -m darkroom_api.rendering.worker`: renders, transcodes, and makes objects of uploads.

A process of its own, since a decoder that meets a hostile frame may crash, loop or want all memory
there is. A task is a line of JSON, and for an upload its bytes after that; the answer is a line,
and the bytes that it tells of; for frames there is a line for each.

What makes new objects is imported when the first of them is wanted: it takes as long as all the
rest, and the first image of a new process has somebody waiting for it.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any, BinaryIO, Final

from darkroom_api.conformance.exchange import StatementTask
from darkroom_api.dicomweb.retrieving.pixels import NoSuchFrame
from darkroom_api.objects.exchange import MakeTask
from darkroom_api.rendering.drawing import draw
from darkroom_api.rendering.exchange import (
    CANNOT,
    MADE,
    MISSING,
    NO_FRAME,
    STORE,
    TASK,
    FramesTask,
    Made,
    ObjectTask,
    Place,
    RenderTask,
    Task,
)
from darkroom_api.rendering.transcoding import frames_in, transcoded
from darkroom_common.dicom.stored import StoredObject, stored_object
from darkroom_common.errors import ConfigurationError, PermanentError
from darkroom_common.objects.store import ObjectMissing, ObjectStore, StoreUnavailable, open_store
from darkroom_common.workers.answering import answer_tasks

Pieces = Iterator[bytes | memoryview]
_MAKING: Final = "darkroom_api.objects.making"
_PRINTING: Final = "darkroom_api.conformance.made"
_TOO_MUCH: Final = "it needs more memory than is allowed"


def answer(store: ObjectStore, line: bytes, uploads: BinaryIO | None = None) -> Pieces:
    """Yield the answer to a task.

    Args:
        store: has the object.
        line: of `TASK`.
        uploads: has the bytes of a task to make an object.
    """
    task = TASK.validate_json(line)
    body = uploads.read(task.size) if uploads and isinstance(task, MakeTask) else b""
    begun = False
    try:
        for piece in _pieces(store, task, body):
            yield piece
            begun = True
    except Exception as error:
        if begun:  # what was promised cannot be kept: the process ends
            raise
        yield _line(_fault(error))


def _pieces(store: ObjectStore, task: Task, upload: bytes) -> Pieces:
    if isinstance(task, MakeTask | StatementTask):
        file = _file(task, upload)
        yield _line(Made(len(file)))
        yield file
        return
    hold = partial(_held, store, task.place)
    match task:
        case RenderTask():
            with ExitStack() as held:
                state = held.enter_context(_held(store, task.state)) if task.state else None
                body = draw(held.enter_context(hold()), task.picture, state)
            yield _line(Made(len(body)))
            yield body
        case FramesTask():
            yield from _frames(hold, task)
        case ObjectTask():
            with ExitStack() as held:
                made = transcoded(lambda: held.enter_context(hold()), task.wanted)
                yield from _each(made.count, made.syntax, made.pieces)


def _file(task: MakeTask | StatementTask, upload: bytes) -> bytes:
    """Return a new object, or the document of a statement."""
    made: Any
    if isinstance(task, MakeTask):
        made = import_module(_MAKING).make(task, upload)
    else:
        made = import_module(_PRINTING).printed(task)
    return bytes(made)


def _frames(hold: Callable[[], AbstractContextManager[StoredObject]], task: FramesTask) -> Pieces:
    with hold() as stored:
        found = frames_in(stored, task.frames, task.wanted)
        yield from _each(found.count, found.syntax, found.bodies)


def _each(count: int, syntax: str, bodies: Pieces) -> Pieces:
    for more, body in zip(range(count - 1, -1, -1), bodies, strict=True):
        yield _line(Made(len(body), more, syntax))
        yield body


@contextmanager
def _held(store: ObjectStore, place: Place) -> Iterator[StoredObject]:
    with (
        store.open_now(place.key) as file,
        stored_object(file, place.syntax, place.start, place.size) as stored,
    ):
        known = {number: (start, length) for number, start, length in place.frames}
        yield replace(stored, frames=known) if known else stored


def _line(made: Made) -> bytes:
    return MADE.dump_json(made) + b"\n"


def _fault(error: Exception) -> Made:
    """Say what has gone wrong; the text of a library's error may hold values."""
    known: dict[type[Exception], str] = {
        ObjectMissing: MISSING,
        NoSuchFrame: NO_FRAME,
        StoreUnavailable: STORE,
    }
    if word := known.get(type(error)):
        return Made(error=word)
    if isinstance(error, OSError) and error.errno is not None:
        return Made(error=STORE)
    if isinstance(error, PermanentError | ConfigurationError):
        return Made(error=CANNOT, reason=str(error))
    if isinstance(error, MemoryError):
        return Made(error=CANNOT, reason=_TOO_MUCH)
    return Made(error=CANNOT, reason=f"it cannot be read ({type(error).__name__})")


if __name__ == "__main__":
    answer_tasks(partial(answer, open_store(sys.argv[2]), uploads=sys.stdin.buffer))
