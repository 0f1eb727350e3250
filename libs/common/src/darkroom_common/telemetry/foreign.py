"""What is not ours to word: texts of exceptions, warnings, and whatever writes to standard error.

A library quotes values: `Invalid value for VR UI: '1.2.SMITH'`. No pattern finds every name in
that, so such text does not leave the process. The log tells kinds and places instead: which type of
error or warning, at which lines of code. Only the texts of our own errors are told; they hold no
value.
"""

import asyncio
import faulthandler
import os
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, nullcontext
from types import TracebackType
from typing import Any, Final, cast

import structlog

from darkroom_common.errors import DarkroomError

_FRAMES: Final = 12
_DEEPEST: Final = 5
_READ: Final = 64 * 1024
_MOST: Final = 20
_LONGEST_LINE: Final = 1024
_PLAIN: Final = frozenset({"darkroom_common", "aiormq", "aio_pika"})
"""Loggers whose texts are told: they speak of connections and queues, which hold no PHI."""
_OF_ASYNCIO: Final = frozenset(
    {
        "Task exception was never retrieved",
        "Future exception was never retrieved",
        "Task was destroyed but it is pending!",
        "socket.accept() out of system resource",
        "Fatal read error on socket transport",
        "Fatal write error on socket transport",
        "Fatal error on transport",
        "SSL handshake failed",
        "unhandled exception during asyncio.run() shutdown",
    }
)
_PLACE: Final = re.compile(rb'File "([^"\r\n]{1,300})", line (\d{1,9}),? in ([\w<>.]{1,100})')
_KIND: Final = re.compile(
    rb"^(?:Fatal Python error|[\w.]{1,100}(?:Error|Exception|Warning))\b", re.MULTILINE
)


def told(error: BaseException | None) -> str:
    """Return an error for the log: its kind and places, and those of what it comes from."""
    parts: list[str] = []
    while error is not None and len(parts) < _DEEPEST:
        parts.append(_one(error))
        if isinstance(error, BaseExceptionGroup):
            parts += [_one(inner) for inner in error.exceptions[: _DEEPEST - len(parts)]]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\nfrom ".join(parts)


def _one(error: BaseException) -> str:
    name = type(error).__name__
    head = f"{name}: {error}" if isinstance(error, DarkroomError) else name
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return "\n".join([head, *(f"  {one.filename}:{one.lineno} {one.name}" for one in frames)])


def tell_exceptions(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Replace the error of a line by what may be told of it; a structlog processor."""
    given = event.pop("exc_info", None)
    if given:
        found = given if isinstance(given, BaseException) else None
        if found is None:
            found = given[1] if isinstance(given, tuple) else sys.exc_info()[1]
        if found is not None:
            event["exception"] = told(found)
    event.pop("stack_info", None)
    return event


def withhold_texts(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Replace what a library has said by the place where it says it; a structlog processor."""
    record = event["_record"]
    if record.name.partition(".")[0] not in _PLAIN:
        event["event"] = "library.message"
        event["at"] = f"{record.pathname}:{record.lineno}"
    return event


def asyncio_failed(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what nobody has waited for; the exception handler of an event loop."""
    message = str(context.get("message", ""))
    _log().error(
        "asyncio.failed",
        what=message if message in _OF_ASYNCIO else "callback",
        exc_info=context.get("exception"),
    )


@contextmanager
def guarded_process(*, stderr: bool = True) -> Iterator[None]:
    """Have warnings, uncaught errors and standard error told by the log, for the length of a block.

    Args:
        stderr: also what C libraries, and processes that this one starts, write to standard error.
            Not for commands: they speak to somebody there.

    A crash is written to the standard error as it was: faulthandler names lines of code, never
    values, and there is nobody left to log it. That of a child comes to this process.
    """
    hooks = threading.excepthook, sys.unraisablehook, warnings.showwarning
    at_the_end, sys.excepthook = sys.excepthook, _uncaught
    threading.excepthook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    sys.unraisablehook = lambda args: _unraisable(args.exc_value)
    cast("Any", warnings).showwarning = _warned
    try:
        with _stderr_logged() if stderr else nullcontext():
            yield
        sys.excepthook = at_the_end  # not after an error: that is on its way to the hook
    finally:
        threading.excepthook, sys.unraisablehook, warnings.showwarning = hooks


@contextmanager
def _stderr_logged() -> Iterator[None]:
    original = os.dup(2)
    reader, writer = os.pipe()
    sys.stderr.flush()
    os.dup2(writer, 2)
    os.close(writer)
    faulthandler.enable(file=original)
    reading = threading.Thread(target=_log_written, args=(reader,), name="stderr", daemon=True)
    reading.start()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(original, 2)  # which ends the thread, when no child has the pipe
        faulthandler.enable()
        reading.join(1)
        os.close(original)


def _log_written(reader: int) -> None:
    """Log sizes as they come, kinds and places when their line is whole: writers write in parts."""
    unfinished = b""
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        while chunk := pipe.read(_READ):
            whole, newline, unfinished = (unfinished + chunk).rpartition(b"\n")
            _tell_withheld(chunk, whole + newline)
            unfinished = unfinished[-_LONGEST_LINE:]
    if _PLACE.search(unfinished) or _KIND.search(unfinished):
        _tell_withheld(b"", unfinished)


def _tell_withheld(chunk: bytes, lines: bytes) -> None:
    places = [b"%s:%s %s" % found.groups() for found in _PLACE.finditer(lines)]
    _log().warning(
        "stderr.withheld",
        size=len(chunk),
        lines=chunk.count(b"\n"),
        kinds=[kind.decode() for kind in _KIND.findall(lines)[:_MOST]],
        at=[place.decode("utf-8", "replace") for place in places[:_MOST]],
    )


def _uncaught(
    kind: type[BaseException], error: BaseException | None, _trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    _log().error("process.uncaught", error=kind.__name__, exc_info=error)


def _unraisable(error: BaseException | None) -> None:
    _log().error("process.unraisable", error=type(error).__name__, exc_info=error)


def _warned(
    message: Warning | str, category: type[Warning], filename: str, *line_and_more: Any
) -> None:
    del message
    _log().warning(
        "python.warning", category=category.__name__, at=f"{filename}:{line_and_more[0]}"
    )


def _log() -> Any:
    return structlog.get_logger(__name__)
