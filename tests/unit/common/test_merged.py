"""Metrics of several processes are added, and nothing is forgotten when one ends."""

from prometheus_client import generate_latest

from darkroom_common.telemetry.merged import MergedMetrics, Row, snapshot
from darkroom_common.telemetry.metrics import ingest as metrics

ROWS: list[Row] = [
    ("darkroom_received_bytes", "darkroom_received_bytes_total", False, (), 5.0),
    ("darkroom_associations_open", "darkroom_associations_open", True, (), 2.0),
    ("darkroom_quarantined", "darkroom_quarantined_total", False, (("reason", "test"),), 1.0),
]


def value(merged: MergedMetrics, line: str) -> float:
    for found in generate_latest(merged).decode().splitlines():
        if found.startswith(line + " "):
            return float(found.rpartition(" ")[2])
    return 0.0


def test_workers_are_added_and_what_they_counted_stays() -> None:
    merged = MergedMetrics()
    received, opened = "darkroom_received_bytes_total", "darkroom_associations_open"
    reason = 'darkroom_quarantined_total{reason="test"}'
    before = value(merged, received)
    merged.put(0, ROWS)
    merged.put(1, ROWS)
    assert value(merged, received) == before + 10
    assert value(merged, opened) == 4
    assert value(merged, reason) == 2
    merged.ended(0)
    assert value(merged, received) == before + 10
    assert value(merged, opened) == 2
    merged.put(0, ROWS)
    assert value(merged, received) == before + 15
    assert value(merged, reason) == 3


def test_a_snapshot_is_what_this_process_counted() -> None:
    metrics.PREAMBLE_ZEROED.inc(3)
    found = {(row[1], row[3]): row[4] for row in snapshot()}
    assert found["darkroom_preamble_zeroed_total", ()] >= 3
    assert not any(name.endswith("_created") for name, _ in found)


def test_of_replicas_one_counts_where_all_tell_the_same_and_the_worst_where_they_do_not() -> None:
    def row(name: str, value: float) -> Row:
        return (name, name, True, (), value)

    merged = MergedMetrics(replicas=True)
    merged.put(0, [row("darkroom_postgres_pool_limit", 3.0), row("darkroom_queue_depth", 7.0)])
    merged.put(1, [row("darkroom_postgres_pool_limit", 3.0), row("darkroom_queue_depth", 7.0)])
    assert (
        value(merged, "darkroom_postgres_pool_limit"),
        value(merged, "darkroom_queue_depth"),
    ) == (6.0, 7.0)
    merged.put(0, [row("darkroom_ready", 1.0)])
    assert value(merged, "darkroom_ready") == 0.0  # the other one is not
    merged.put(1, [row("darkroom_ready", 1.0)])
    assert value(merged, "darkroom_ready") == 1.0
