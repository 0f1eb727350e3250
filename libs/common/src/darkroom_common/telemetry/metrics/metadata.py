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
    one_of("check", "contents", "slow", "rows", "objects", "replica"),
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
    "Since the object of a store that has waited longest was stored or last read back.",
    one_of("tier", "fast", "slow"),
)
VERIFICATION_LATE: Final = _of.gauge(
    "darkroom_verification_late_seconds",
    "So much longer than its store's interval that object has waited; 0: it is in time, or the"
    " store is never read back.",
    one_of("tier", "fast", "slow"),
)
RECONCILED: Final = _of.counter(
    "darkroom_reconciled_total", "Objects without a row that were published again."
)
REPAIRED: Final = _of.counter(
    "darkroom_repaired_total",
    "Damaged objects, of which the other store has had a good copy or has not.",
    one_of("outcome", "repaired", "failed"),
)
REPLICATED: Final = _of.counter(
    "darkroom_replicated_total",
    "Objects and changes for the second store.",
    one_of("outcome", "sent", "removed", "failed"),
)
REPLICATED_BYTES: Final = _of.counter(
    "darkroom_replicated_bytes_total", "Bytes of objects copied to the second store."
)
REPLICATION_WAITING: Final = _of.gauge(
    "darkroom_replication_waiting", "Objects and changes that the second store lacks."
)
REPLICATION_WAITING_BYTES: Final = _of.gauge(
    "darkroom_replication_waiting_bytes", "Bytes of the objects that the second store lacks."
)
REPLICATION_LAG: Final = _of.gauge(
    "darkroom_replication_lag_seconds",
    "Since the change that has waited longest for the second store.",
)
REPLICATION_TAKEN: Final = _of.counter(
    "darkroom_replication_taken_total",
    "Objects and changes of another site, by what became of them.",
    one_of("outcome", "object", "change", "outvoted", "refused"),
)
REPLICATION_UNTAKEN: Final = _of.gauge(
    "darkroom_replication_untaken", "Objects and changes of another site that are not here yet."
)
REPLICATION_UNTAKEN_SECONDS: Final = _of.gauge(
    "darkroom_replication_untaken_seconds",
    "Since the change of another site that has waited longest was made there.",
)
REPLICATION_PEER_UP: Final = _of.gauge(
    "darkroom_replication_peer_up", "Whether another site's store could be read the last time."
)
SHIPPING_STOPPED: Final = _of.gauge(
    "darkroom_shipping_stopped", "1 while nobody takes the WAL that `darkroom ship` has asked for."
)
SHIPPING_BEHIND: Final = _of.gauge(
    "darkroom_shipping_behind_bytes", "Bytes of WAL that `darkroom ship` has not taken yet."
)
