"""Spans as lines of files, for a machine without a collector: `darkroom trace` shows them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import orjson
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

MOST_BYTES: Final = 32 << 20
"""Of a file; then it takes the place of the older one, and a new one begins."""
_NANOSECONDS: Final = 1e9


class TraceFile(SpanExporter):
    """Writes `<directory>/<service>.jsonl`, to which several processes may add.

    Args:
        directory: it is made.
        service: whose spans they are.
    """

    def __init__(self, directory: Path, service: str) -> None:
        self._path = directory / f"{service}.jsonl"
        self._service = service
        directory.mkdir(parents=True, exist_ok=True)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write spans; what the disk does not take is lost, and nothing waits for it."""
        lines = b"".join(orjson.dumps(self._line(one)) + b"\n" for one in spans)
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
            try:
                os.write(descriptor, lines)
                if os.fstat(descriptor).st_size > MOST_BYTES:
                    self._path.replace(self._path.with_suffix(".old.jsonl"))
            finally:
                os.close(descriptor)
        except OSError:
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def _line(self, span: ReadableSpan) -> dict[str, object]:
        context, began, ended = span.get_span_context(), span.start_time or 0, span.end_time or 0
        return {
            "trace": format(context.trace_id, "032x") if context else "",
            "span": format(context.span_id, "016x") if context else "",
            "parent": format(span.parent.span_id, "016x") if span.parent else "",
            "links": [format(link.context.trace_id, "032x") for link in span.links],
            "service": self._service,
            "name": span.name,
            "began": began / _NANOSECONDS,
            "seconds": (ended - began) / _NANOSECONDS,
            "attributes": dict(span.attributes or {}),
            "error": span.status.description or "",
        }
