"""What a metric is: a row of one table.

The registry, what a service shows, docs/metrics.md, and the tests of dashboards and alerts are made
from the rows. A row stands once, in the file of whoever counts; nothing else makes metrics.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, TypeAlias

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

AnyMetric: TypeAlias = Counter | Gauge | Histogram
SERVICES: Final = ("ingest", "metadata", "transmit", "print", "api", "licensing")
LATENCY: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
)  # seconds
_MOST_AT_ONCE: Final = 64
_UNITS: Final = ("seconds", "bytes", "ratio")
_ROWS: Final[dict[str, "Row"]] = {}
_without_created: Callable[[], None] = disable_created_metrics
_without_created()  # they are a second series of each, which nothing asks for


@dataclass(frozen=True)
class Label:
    """A label, and what bounds its values: never what is received, never a UID.

    Attributes:
        name: of the label.
        values: all that there are; empty when configuration or code elsewhere has them.
        bound: what has them, in words.
        pattern: of each value, where `values` is empty.
    """

    name: str
    values: tuple[str, ...] = ()
    bound: str = ""
    pattern: str = r"[\w.:()/{}*-]*"


@dataclass(frozen=True)
class Row:
    """A metric.

    Attributes:
        name: as Prometheus has it, with `_total` and the unit.
        kind: counter, gauge or histogram.
        text: what it says, in a sentence.
        services: those that show it.
        labels: in their order.
        classic: what others call the same: docs/metrics.md and the recording rules have both.
        metric: what counts.
    """

    name: str
    kind: str
    text: str
    services: tuple[str, ...]
    labels: tuple[Label, ...]
    classic: str
    metric: AnyMetric

    @property
    def unit(self) -> str:
        """The unit, as the name says; empty for a number of things."""
        parts = self.name.removesuffix("_total").rsplit("_", 1)
        return parts[-1] if parts[-1] in _UNITS else ""

    @property
    def family(self) -> str:
        """The name of the family: that of a counter is without `_total`."""
        return self.name.removesuffix("_total") if self.kind == "counter" else self.name

    @property
    def series(self) -> tuple[str, ...]:
        """The names that expressions may use."""
        if self.kind == "histogram":
            return tuple(f"{self.name}{end}" for end in ("_bucket", "_sum", "_count"))
        return (self.name,)


def one_of(name: str, *values: str) -> Label:
    """Return a label with all its values."""
    return Label(name, values)


def bounded(name: str, bound: str, pattern: str = Label.pattern) -> Label:
    """Return a label whose values configuration or code elsewhere bounds."""
    return Label(name, (), bound, pattern)


class Rows:
    """Makes the rows of the services that show them."""

    def __init__(self, *services: str) -> None:
        if unknown := set(services) - set(SERVICES):
            raise ValueError(f"no services: {unknown}")
        self._services = services

    def counter(self, name: str, text: str, *labels: Label, classic: str = "") -> Counter:
        """Return a counter. Where all values of its labels are known, it begins with 0 for each.

        Otherwise the first event of a kind is none that `increase` sees.
        """
        metric = Counter(name, text, [label.name for label in labels])
        if labels and all(label.values for label in labels):
            values = list(product(*(label.values for label in labels)))
            for one in values if len(values) <= _MOST_AT_ONCE else ():
                metric.labels(*one)
        self._add((name, "counter", text), labels, classic, metric)
        return metric

    def gauge(self, name: str, text: str, *labels: Label, classic: str = "") -> Gauge:
        """Return a gauge."""
        metric = Gauge(name, text, [label.name for label in labels])
        self._add((name, "gauge", text), labels, classic, metric)
        return metric

    def histogram(
        self,
        name: str,
        text: str,
        *labels: Label,
        buckets: Sequence[float] = LATENCY,
        classic: str = "",
    ) -> Histogram:
        """Return a histogram; its buckets end at seconds, bytes or numbers, as its name says."""
        metric = Histogram(name, text, [label.name for label in labels], buckets=buckets)
        self._add((name, "histogram", text), labels, classic, metric)
        return metric

    def _add(
        self, told: tuple[str, str, str], labels: tuple[Label, ...], classic: str, metric: AnyMetric
    ) -> None:
        row = Row(*told, self._services, labels, classic, metric)
        _ROWS[row.family] = row  # the registry has refused a second one of the name


def rows() -> Mapping[str, Row]:
    """Return the rows of what has been imported, by the name of their family."""
    return _ROWS
