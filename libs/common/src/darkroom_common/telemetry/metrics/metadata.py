"""What metadata shows: indexing, conflicts, verification."""

from typing import Final

from darkroom_common.telemetry.metrics.rows import LATENCY, Rows, bounded, one_of

_of: Final = Rows("metadata")

INDEXED: Final = _of.counter(
    "darkroom_indexed_total",
    "Instances indexed.",
    one_of("outcome", "added", "duplicate", "conflict"),
)
ODD_TEXT: Final = _of.counter(
    "darkroom_odd_text_total",
    "Instances whose text is not in the character set that they declare.",
    bounded("flag", "the flags of docs/character-sets.md"),
)
INDEX_LAG: Final = _of.histogram(
    "darkroom_index_lag_seconds", "From received to indexed.", buckets=(*LATENCY, 60.0, 300.0)
)
INDEX_BATCH: Final = _of.histogram(
    "darkroom_index_batch_size",
    "Instances in one transaction.",
    buckets=(1, 5, 10, 50, 100, 250, 500),
)
STUDIES_COMPLETED: Final = _of.counter("darkroom_studies_completed_total", "Studies gone quiet.")
VERIFIED: Final = _of.counter(
    "darkroom_verified_total",
    "Objects looked at by verification.",
    one_of("check", "contents", "rows", "objects"),
    one_of("outcome", "well", "damaged"),
)
VERIFIED_BYTES: Final = _of.counter("darkroom_verified_bytes_total", "Bytes read back.")
CONFLICTS_OPEN: Final = _of.gauge(
    "darkroom_conflicts_open",
    "Conflicts that wait for an operator.",
    bounded("kind", "the kinds of docs/conflicts.md"),
)
FINDINGS_OPEN: Final = _of.gauge(
    "darkroom_verification_findings",
    "Findings of verification that are open.",
    bounded("kind", "the findings of docs/operations.md"),
)
VERIFIED_OLDEST: Final = _of.gauge(
    "darkroom_verification_oldest_seconds",
    "Since the object that has waited longest was stored or last read back.",
)
RECONCILED: Final = _of.counter(
    "darkroom_reconciled_total", "Objects without a row that were published again."
)
