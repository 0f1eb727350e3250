"""Structured logs to stdout, one JSON object a line, with a redactor as the last net.

The plan is that nobody logs PHI: events carry identifiers. The redactor drops what slips through
by key (`patient_name`, `password`, ...) and blanks person names in DICOM form in any value, and
escapes control characters so that a peer cannot forge a line or colour a terminal.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, TextIO

import structlog
from opentelemetry import trace

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


def _escape(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode("ascii")


def clean_text(text: str) -> str:
    """Return `text` without passwords in URLs, DICOM person names and control characters."""
    text = _URL_PASSWORD.sub(rf"\g<scheme>{REDACTED}", text)
    text = _PERSON_NAME.sub(REDACTED, text)
    return _CONTROL.sub(_escape, text)


def _clean(key: str, value: Any) -> Any:  # noqa: PLR0911 - one line a kind
    if _SECRET_KEYS.search(key):
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


def configure_logs(
    *, service: str, level: str = "INFO", style: str = "json", stream: TextIO | None = None
) -> None:
    """Send structlog and the standard library's loggers through the same redacted pipeline.

    Args:
        service: the name that every line carries.
        level: the least level that is written, as `logging` names it.
        style: `json` for machines, `console` for a person.
        stream: where to; None is standard output.
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
        structlog.stdlib.ExtraAdder(),
        add_service,
        _add_trace,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout if stream is None else stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redact,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for noisy in ("aiormq", "aio_pika", "pydicom", "pynetdicom", "uvicorn", "asyncio", "httpx"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module: `log = get_logger(__name__)`."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger
