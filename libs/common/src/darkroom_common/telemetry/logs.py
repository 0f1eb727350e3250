"""Structured logs to stdout, one JSON object a line, with a redactor as the last net.

The plan is that nobody logs PHI: events carry identifiers, and what libraries say is not told
(`foreign.py`). The redactor drops what slips through
by key (`patient_name`, `password`, ...) and blanks person names in DICOM form in any value, and
escapes control characters so that a peer cannot forge a line or colour a terminal.
"""

import logging
import re
import sys
import threading
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TextIO

import orjson
import structlog
from opentelemetry import trace

from darkroom_common.telemetry.foreign import tell_exceptions, withhold_texts
from darkroom_common.telemetry.security import SecurityFile, mark

REDACTED: Final = "[redacted]"

_SECRET_KEYS: Final = re.compile(
    r"(patient_?(name|id|birth|address|sex|age)|other_?patient|birth_?date|accession|physician"
    r"|operators?_?name|responsible_?person|issuer_of_patient|password|passwd|secret|token"
    r"|authorization|cookie|api_?key|phi|identifier_dataset|data_?set$)",
    re.IGNORECASE,
)
_URL_PASSWORD: Final = re.compile(r"(?P<scheme>\w+://[^:/@\s]+:)[^@\s]+(?=@)")
_PERSON_NAME: Final = re.compile(r"[^\s^~\"'=:,;()\[\]{}]+\^[^\s\"'=,;()\[\]{}]*")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SUSPICIOUS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029^]|://")
"""In every text that one of the three above would change."""


def _escape(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode("ascii")


def clean_text(text: str) -> str:
    """Return `text` without passwords in URLs, DICOM person names and control characters."""
    if _SUSPICIOUS.search(text) is None:
        return text
    text = _URL_PASSWORD.sub(rf"\g<scheme>{REDACTED}", text)
    text = _PERSON_NAME.sub(REDACTED, text)
    return _CONTROL.sub(_escape, text)


@lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    return _SECRET_KEYS.search(key) is not None


def _clean(key: str, value: Any) -> Any:  # noqa: PLR0911 - one line a kind
    if _is_secret(key):
        return REDACTED
    if isinstance(value, str):
        if key == "exception":  # a traceback keeps its lines; JSON escapes them
            return "\n".join(clean_text(line) for line in value.split("\n"))
        return clean_text(value)
    if isinstance(value, bytes):
        return f"[{len(value)} bytes]"
    if isinstance(value, Mapping):
        return {str(k): _clean(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(key, item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return clean_text(str(value))


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace what must not leave the process; a structlog processor."""
    return {key: _clean(key, value) for key, value in event.items()}


def _add_trace(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = format(context.trace_id, "032x")
        event["span_id"] = format(context.span_id, "016x")
    return event


class _Stream:
    """Writes whole lines for many threads; a structlog logger."""

    def __init__(self, name: str, stream: TextIO, lock: threading.Lock) -> None:
        self.name = name
        self._stream = stream
        self._lock = lock

    def msg(self, line: str) -> None:
        """Write one line. A reader that has gone is no reason to stop receiving."""
        with self._lock, suppress(OSError, ValueError):  # a broken pipe, a closed stream
            self._stream.write(f"{line}\n")
            self._stream.flush()

    debug = info = warning = error = critical = exception = msg


def _to_json(value: Any, **_: Any) -> str:
    return orjson.dumps(value, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()


def configure_logs(
    *,
    service: str,
    level: str = "INFO",
    style: str = "json",
    stream: TextIO | None = None,
    security: Path | None = None,
) -> None:
    """Send structlog and the standard library's loggers through the same redacted pipeline.

    Our own lines go straight to the stream: receiving writes one for each object.

    Args:
        service: the name that every line carries.
        level: the least level that is written, as `logging` names it.
        style: `json` for machines, `console` for a person.
        stream: where to; None is standard output.
        security: file that security events are written to, too.
    """

    def add_service(
        _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        event["service"] = service
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_service,
        _add_trace,
        mark,
    ]
    last: list[structlog.typing.Processor] = [
        tell_exceptions,
        redact,
        *([] if security is None else [SecurityFile(security)]),
        structlog.processors.JSONRenderer(serializer=_to_json)
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty()),
    ]
    target = sys.stdout if stream is None else stream
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[withhold_texts, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for noisy in ("aiormq", "aio_pika", "pydicom", "pynetdicom", "asyncio", "httpx"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    lock = threading.Lock()
    structlog.configure(
        processors=[*shared, *last],
        logger_factory=lambda *names: _Stream(names[0] if names else "root", target, lock),
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
    )


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """Return the logger of a module: `log = get_logger(__name__)`."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(name)
    return logger
