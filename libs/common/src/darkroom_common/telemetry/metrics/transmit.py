"""What transmit shows: sending, asking and retrieving from other nodes, routing."""

from typing import Final

from darkroom_common.telemetry.metrics.rows import Rows, bounded, one_of

_of: Final = Rows("transmit")
DESTINATION: Final = bounded("destination", "names of destinations, as administrators gave them")
_REASON: Final = bounded("reason", "the words of the code for what a peer can do wrong")
_RULE: Final = bounded("rule", "names of rules, as administrators gave them", ".*")

TRANSMIT_INSTANCES: Final = _of.counter(
    "darkroom_transmit_instances_total",
    "Instances answered.",
    DESTINATION,
    one_of("outcome", "sent", "warned", "retry", "suspect", "failed"),
)
TRANSMIT_BYTES: Final = _of.counter(
    "darkroom_transmit_bytes_total", "Bytes of data sets sent.", DESTINATION
)
TRANSMIT_SECONDS: Final = _of.histogram(
    "darkroom_transmit_batch_seconds", "Time to send a batch.", DESTINATION
)
TRANSMIT_FAULTS: Final = _of.counter(
    "darkroom_transmit_faults_total", "Associations that failed.", DESTINATION, _REASON
)
TRANSMIT_BREAKER: Final = _of.gauge(
    "darkroom_transmit_breaker",
    "1 for the state of the breaker.",
    DESTINATION,
    one_of("state", "closed", "open", "half-open"),
)
TRANSMIT_OPEN: Final = _of.gauge(
    "darkroom_transmit_window_open", "1 while it may be sent to.", DESTINATION
)
TRANSMIT_ASSOCIATIONS: Final = _of.gauge(
    "darkroom_transmit_associations", "Associations of ours.", one_of("state", "used", "idle")
)
TRANSMIT_ASSOCIATIONS_LIMIT: Final = _of.gauge(
    "darkroom_transmit_associations_limit", "Associations that one called AE title may have of us."
)
TRANSMIT_ASSOCIATIONS_FULLEST: Final = _of.gauge(
    "darkroom_transmit_associations_fullest",
    "Associations in use with the called AE title that has most of them.",
)
TRANSMIT_POOL_EXHAUSTED: Final = _of.counter(
    "darkroom_transmit_pool_exhausted_total",
    "Waits for an association in vain.",
    bounded("called_ae", "AE titles of destinations", ".{1,16}"),
)
TRANSMIT_COMMITMENTS: Final = _of.counter(
    "darkroom_transmit_commitments_total",
    "Storage commitments.",
    DESTINATION,
    one_of("outcome", "asked", "refused", "committed", "partly", "failed", "expired"),
)
REMOTE_REQUESTS: Final = _of.counter(
    "darkroom_remote_requests_total",
    "Asked of other nodes.",
    DESTINATION,
    bounded("operation", "study, series, image, worklist, create, set, notice"),
    one_of("outcome", "done", "failed"),
)
REMOTE_SECONDS: Final = _of.histogram(
    "darkroom_remote_seconds",
    "Until a node has answered.",
    DESTINATION,
    bounded("operation", "as of darkroom_remote_requests_total"),
)
RETRIEVE_INSTANCES: Final = _of.counter(
    "darkroom_retrieve_instances_total",
    "Sub-operations of retrieving.",
    DESTINATION,
    one_of("outcome", "completed", "warned", "failed"),
)
PREFETCHED: Final = _of.counter("darkroom_prefetched_studies_total", "Priors asked for.", _RULE)
ROUTED: Final = _of.counter("darkroom_routed_instances_total", "Instances routed.", _RULE)
