"""Every metric of every service: one table, in files by who counts.

A metric is added by a line in the file of its service (`rows.py` says what a line has) and
`make metrics`, which writes docs/metrics.md. One process, one registry, one port.
"""

from collections.abc import Iterator

from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from darkroom_common.telemetry.metrics import (
    api,
    common,
    echoes,
    ingest,
    licensing,
    metadata,
    printing,
    transmit,
)
from darkroom_common.telemetry.metrics.rows import rows

__all__ = [
    "Shown",
    "api",
    "common",
    "echoes",
    "ingest",
    "licensing",
    "metadata",
    "printing",
    "rows",
    "transmit",
]


class Shown(Collector):
    """What a service shows: the rows of the table that are its own, and its process's numbers."""

    def __init__(self, service: str, source: Collector = REGISTRY) -> None:
        self._service = service
        self._source = source

    def collect(self) -> Iterator[Metric]:
        """Yield them."""
        for metric in self._source.collect():
            row = rows().get(metric.name)
            if row is None or self._service in row.services:
                yield metric
