"""The metrics of a service that has several processes, on its one port.

A worker sends the samples of its registry now and then; the main process adds them to its own when
it is asked. What a worker has counted stays when the worker has ended; its gauges go with it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

_OURS: Final = "darkroom_"
Labels = tuple[tuple[str, str], ...]
Row = tuple[str, str, bool, Labels, float]
"""Metric, sample, whether it is a gauge, labels, value."""


def snapshot() -> list[Row]:
    """Return the samples of this process that are not zero."""
    return [
        (metric.name, sample.name, metric.type == "gauge", tuple(sample.labels.items()), value)
        for metric in REGISTRY.collect()
        if metric.name.startswith(_OURS)
        for sample in metric.samples
        if (value := sample.value)
    ]


_LEAST: Final = frozenset({"darkroom_ready", "darkroom_dependency_up", "darkroom_broker_connected"})
"""Gauges that are 1 when they are so of every replica."""
_ADDED: Final = frozenset(
    {
        "darkroom_postgres_pool_connections",
        "darkroom_postgres_pool_limit",
        "darkroom_amqp_in_flight",
    }
)
"""Gauges of what each replica has for itself."""


class MergedMetrics(Collector):
    """This process's registry and the last samples of each worker, added.

    Args:
        replicas: whether each worker is a whole service: of gauges that tell what is the same for
            all of them, one counts.
    """

    def __init__(self, *, replicas: bool = False) -> None:
        self._replicas = replicas
        self._workers: dict[int, list[Row]] = {}
        self._ended: defaultdict[tuple[str, str, Labels], float] = defaultdict(float)

    def put(self, worker: int, rows: Iterable[Row]) -> None:
        """Take the samples of a worker."""
        self._workers[worker] = list(rows)

    def ended(self, worker: int) -> None:
        """Keep what a worker has counted, forget what it measured."""
        for metric, sample, gauge, labels, value in self._workers.pop(worker, []):
            if not gauge:
                self._ended[metric, sample, labels] += value

    def collect(self) -> Iterator[Metric]:
        """Yield every metric once, with the sums."""
        sums: defaultdict[str, defaultdict[tuple[str, Labels], float]] = defaultdict(
            lambda: defaultdict(float)
        )
        for (metric, sample, labels), value in self._ended.items():
            sums[metric][sample, labels] += value
        alike: defaultdict[tuple[str, str, Labels], list[float]] = defaultdict(list)
        for rows in self._workers.values():
            for metric, sample, gauge, labels, value in rows:
                if gauge and self._replicas and metric not in _ADDED:
                    alike[metric, sample, labels].append(value)
                else:
                    sums[metric][sample, labels] += value
        for (metric, sample, labels), values in alike.items():
            everywhere = len(values) == len(self._workers)  # of one that has 0 there is no row
            least = min(values) if everywhere else 0.0
            sums[metric][sample, labels] = least if metric in _LEAST else max(values)
        for own in REGISTRY.collect():
            yield self._added(own, sums.pop(own.name, {}))

    @staticmethod
    def _added(own: Metric, more: dict[tuple[str, Labels], float]) -> Metric:
        merged = Metric(own.name, own.documentation, own.type, own.unit)
        for sample in own.samples:
            added = more.pop((sample.name, tuple(sample.labels.items())), 0.0)
            merged.samples.append(sample._replace(value=sample.value + added))
        for (name, labels), value in more.items():
            merged.samples.append(Sample(name, dict(labels), value))
        return merged
