"""OpenTelemetry traces, and the headers that carry them across the broker and the outbox."""

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Final

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    Tracer,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from darkroom_common.telemetry.trace_file import TraceFile

_PROPAGATOR = TraceContextTextMapPropagator()
_IDS = RandomIdGenerator()
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
AttributeValue = str | int | float | bool
STUDY: Final = "dicom.study_instance_uid"
"""The attribute by which the traces of one study are found."""
MOST_STUDIES: Final = 20
"""Of one span; work on more is about none in particular."""


class _Provider(TracerProvider):
    """Knows whether anybody takes its spans."""

    is_heard = False

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """See `TracerProvider`."""
        self.is_heard = True
        super().add_span_processor(span_processor)


def configure_traces(
    *, service: str, endpoint: str | None, directory: Path | None = None
) -> TracerProvider:
    """Install the tracer provider of this process.

    Args:
        service: `service.name` of every span.
        endpoint: base URL of an OTLP/HTTP collector; None keeps trace ids flowing without export.
        directory: where spans are written to files, too; see `trace_file`.
    """
    provider = _Provider(resource=Resource.create({"service.name": f"darkroom-{service}"}))
    if endpoint is not None:
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=5)
        provider.add_span_processor(BatchSpanProcessor(exporter))
    if directory is not None:
        provider.add_span_processor(BatchSpanProcessor(TraceFile(directory, service)))
    trace.set_tracer_provider(provider)
    return provider


def get_tracer(name: str) -> Tracer:
    """Return the tracer of a module."""
    return trace.get_tracer(name)


def inject() -> dict[str, str]:
    """Return the W3C trace headers of the current span; empty outside a span."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier


def extract(headers: Mapping[str, object]) -> Context:
    """Return the context that `headers` carry; what is malformed is ignored, as W3C says."""
    return _PROPAGATOR.extract({k: v for k, v in headers.items() if isinstance(v, str)})


def about(studies: Iterable[str | None]) -> None:
    """Say which studies the current span is about: `darkroom trace --study` finds it by them.

    Args:
        studies: Study Instance UIDs; without any, and with more than `MOST_STUDIES`, nothing is
            said.
    """
    around = trace.get_current_span()
    if not around.is_recording():
        return
    named = tuple(islice(dict.fromkeys(filter(None, studies)), MOST_STUDIES + 1))
    if 0 < len(named) <= MOST_STUDIES:
        around.set_attribute(STUDY, named)


def link_to(headers: Mapping[str, object]) -> list[Link]:
    """Return a link to the span that `headers` name, for work that joins many traces."""
    there = trace.get_current_span(extract(headers)).get_span_context()
    return [Link(there)] if there.is_valid else []


def span(
    tracer: Tracer,
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: Context | None = None,
    links: list[Link] | None = None,
    **attributes: AttributeValue,
) -> "Around":
    """Return a span to run a block in.

    Where nobody takes spans it has ids and nothing else, which costs a fifth: receiving has a span
    for each object.
    """
    provider = trace.get_tracer_provider()
    if isinstance(provider, _Provider) and not provider.is_heard:
        return Around(_unheard(parent))
    return Around(
        tracer.start_span(
            name,
            context=parent,
            kind=kind,
            links=links,
            attributes={k.replace("__", "."): v for k, v in attributes.items()},
            record_exception=False,
            set_status_on_exception=False,
        )
    )


def _unheard(parent: Context | None) -> Span:
    """Return a span that is not recorded, in the trace of its parent or in one of its own."""
    above = trace.get_current_span(parent).get_span_context()
    trace_id, flags = (
        (above.trace_id, above.trace_flags)
        if above.is_valid
        else (_IDS.generate_trace_id(), _SAMPLED)
    )
    span_id, state = _IDS.generate_span_id(), above.trace_state
    return NonRecordingSpan(
        SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags, trace_state=state)
    )


class Around:
    """A span around a block. Exceptions are recorded by type only: their text may hold PHI."""

    def __init__(self, around: Span) -> None:
        self._span = around

    def __enter__(self) -> Span:
        """Make it the current one."""
        self._before = context.attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """End it."""
        context.detach(self._before)
        if isinstance(error, Exception):
            self._span.set_status(trace.StatusCode.ERROR, type(error).__name__)
        self._span.end()
