"""OpenTelemetry traces, and the headers that carry them across the broker and the outbox."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanKind, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from darkroom_common.telemetry.trace_file import TraceFile

_PROPAGATOR = TraceContextTextMapPropagator()
AttributeValue = str | int | float | bool


def configure_traces(
    *, service: str, endpoint: str | None, directory: Path | None = None
) -> TracerProvider:
    """Install the tracer provider of this process.

    Args:
        service: `service.name` of every span.
        endpoint: base URL of an OTLP/HTTP collector; None keeps trace ids flowing without export.
        directory: where spans are written to files, too; see `trace_file`.
    """
    provider = TracerProvider(resource=Resource.create({"service.name": f"darkroom-{service}"}))
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


def link_to(headers: Mapping[str, object]) -> list[Link]:
    """Return a link to the span that `headers` name, for work that joins many traces."""
    context = trace.get_current_span(extract(headers)).get_span_context()
    return [Link(context)] if context.is_valid else []


@contextmanager
def span(
    tracer: Tracer,
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: Context | None = None,
    links: list[Link] | None = None,
    **attributes: AttributeValue,
) -> Iterator[Span]:
    """Run a block in a span. Exceptions are recorded by type only: their text may hold PHI."""
    with tracer.start_as_current_span(
        name,
        context=parent,
        kind=kind,
        links=links,
        attributes={k.replace("__", "."): v for k, v in attributes.items()},
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except Exception as error:
            current.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise
