"""Every metric of every service: one file, so that a dashboard's author reads one page.

One process, one registry, one port. Labels come from closed sets (queue names, statuses); AE
titles are configuration, not patient data, and are bounded by the allow-list.
"""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_LATENCY: Final = (
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
)
_BYTES: Final = tuple(float(4**n * 1024) for n in range(12))

# --- every service ---------------------------------------------------------------------------
BUILD_INFO: Final = Gauge(
    "darkroom_build_info", "Always 1; labels say what runs.", ["service", "version"]
)
READY: Final = Gauge("darkroom_ready", "1 when /readyz answers 200.", ["service"])
DEPENDENCY_UP: Final = Gauge(
    "darkroom_dependency_up", "1 when the dependency answers.", ["dependency"]
)

HTTP_CLOSED: Final = Counter(
    "darkroom_http_connections_closed_total",
    "Connections that were refused or closed by a limit.",
    ["listener", "reason"],
)

# --- broker ----------------------------------------------------------------------------------
PUBLISHED: Final = Counter(
    "darkroom_amqp_published_total", "Messages confirmed by the broker.", ["type"]
)
PUBLISH_FAILED: Final = Counter(
    "darkroom_amqp_publish_failed_total", "Publishes without a confirm.", ["type", "reason"]
)
PUBLISH_SECONDS: Final = Histogram(
    "darkroom_amqp_publish_seconds", "From publish to confirm.", ["type"], buckets=_LATENCY
)
CONSUMED: Final = Counter(
    "darkroom_amqp_consumed_total", "Deliveries settled.", ["queue", "outcome"]
)  # outcome: done, retry, dead, requeued
REQUESTS_LATE: Final = Counter(
    "darkroom_amqp_requests_late_total", "Requests dropped after their deadline.", ["type"]
)
HANDLE_SECONDS: Final = Histogram(
    "darkroom_amqp_handle_seconds", "Time of one handler call.", ["queue"], buckets=_LATENCY
)
IN_FLIGHT: Final = Gauge("darkroom_amqp_in_flight", "Deliveries being handled.", ["queue"])
QUEUE_DEPTH: Final = Gauge("darkroom_queue_depth", "Messages ready in a queue.", ["queue"])
CONSUMER_PAUSED: Final = Gauge("darkroom_consumer_paused", "1 while nearly all fails.", ["queue"])
CONSUMER_REBUILT: Final = Counter(
    "darkroom_consumer_rebuilt_total", "Consumers rebuilt by the watchdog.", ["queue"]
)
BROKER_CONNECTED: Final = Gauge("darkroom_broker_connected", "1 while connected.", ["purpose"])

# --- database --------------------------------------------------------------------------------
POOL_SIZE: Final = Gauge("darkroom_postgres_pool_connections", "Connections.", ["state"])
OUTBOX_PENDING: Final = Gauge("darkroom_outbox_pending", "Rows that wait to be published.")

# --- ingest ----------------------------------------------------------------------------------
ASSOCIATIONS: Final = Counter("darkroom_associations_total", "Associations.", ["outcome"])
ASSOCIATIONS_OPEN: Final = Gauge("darkroom_associations_open", "Associations open now.")
TLS_HANDSHAKES: Final = Counter(
    "darkroom_tls_handshakes_total", "TLS handshakes as a server.", ["outcome"]
)  # outcome: done, refused, ended
CERTIFICATE_EXPIRES: Final = Gauge(
    "darkroom_certificate_expires_timestamp_seconds",
    "When the certificate in force expires.",
    ["listener"],
)
CERTIFICATE_REFUSED: Final = Counter(
    "darkroom_certificate_refused_total", "Changed certificates that are no good.", ["listener"]
)
SENDERS: Final = Gauge("darkroom_senders_listed", "Calling AEs in the list of senders.")
SENDERS_NOT_READ: Final = Counter(
    "darkroom_senders_not_read_total", "Failures to read the list of senders.", ["reason"]
)  # reason: away, schema, refused, row (in the database), copy (beside the spool)
STORE_RESPONSES: Final = Counter(
    "darkroom_store_responses_total", "Answers to objects, by C-STORE and STOW.", ["status"]
)
STOW_OBJECTS: Final = Counter(
    "darkroom_stow_objects_total", "Objects of STOW: stored, or why not.", ["outcome"]
)
STOW_BYTES: Final = Counter("darkroom_stow_bytes_total", "Bytes of bodies of STOW.")
STOW_UPLOADS: Final = Gauge("darkroom_stow_uploads_open", "Bodies of STOW on their way in.")
STORE_SECONDS: Final = Histogram(
    "darkroom_store_seconds", "From the data set's last byte to the answer.", buckets=_LATENCY
)
RECEIVED_BYTES: Final = Counter("darkroom_received_bytes_total", "Bytes of data sets received.")
OBJECT_BYTES: Final = Histogram("darkroom_object_bytes", "Size of one object.", buckets=_BYTES)
SPOOL_READY: Final = Gauge("darkroom_spool_ready", "Receipts that wait for the relay.")
SPOOL_OLDEST_SECONDS: Final = Gauge("darkroom_spool_oldest_seconds", "Age of the oldest receipt.")
STORAGE_FREE: Final = Gauge("darkroom_storage_free_bytes", "Free bytes.", ["volume"])
STORAGE_TOTAL: Final = Gauge("darkroom_storage_total_bytes", "Size in bytes.", ["volume"])
QUARANTINED: Final = Counter("darkroom_quarantined_total", "Objects quarantined.", ["reason"])
QUARANTINE_REFUSED: Final = Counter(
    "darkroom_quarantine_refused_total", "Refused objects not kept: quarantine is full.", ["reason"]
)
QUARANTINE_ITEMS: Final = Gauge("darkroom_quarantine_items", "Objects in quarantine.")
QUARANTINE_BYTES: Final = Gauge("darkroom_quarantine_bytes", "Bytes in quarantine.")
ODD_OBJECTS: Final = Counter(
    "darkroom_odd_objects_total", "Objects accepted though the standard forbids it.", ["flag"]
)
PREAMBLE_ZEROED: Final = Counter(
    "darkroom_preamble_zeroed_total", "Preambles that were not empty, and are zeroed."
)
RELAYED: Final = Counter("darkroom_relayed_total", "Receipts stored and published.")
RELAY_FAILED: Final = Counter("darkroom_relay_failed_total", "Relay attempts failed.", ["step"])

# --- metadata --------------------------------------------------------------------------------
INDEXED: Final = Counter("darkroom_indexed_total", "Instances indexed.", ["outcome"])
ODD_TEXT: Final = Counter(
    "darkroom_odd_text_total",
    "Instances whose text is not in the character set that they declare.",
    ["flag"],
)
INDEX_LAG: Final = Histogram(
    "darkroom_index_lag_seconds", "From received to indexed.", buckets=(*_LATENCY, 60.0, 300.0)
)
INDEX_BATCH: Final = Histogram(
    "darkroom_index_batch_size",
    "Instances in one transaction.",
    buckets=(1, 5, 10, 50, 100, 250, 500),
)
STUDIES_COMPLETED: Final = Counter("darkroom_studies_completed_total", "Studies gone quiet.")
VERIFIED: Final = Counter(
    "darkroom_verified_total", "Objects looked at by verification.", ["check", "outcome"]
)  # check: contents, rows, objects; outcome: well, damaged
VERIFIED_BYTES: Final = Counter("darkroom_verified_bytes_total", "Bytes read back.")
CONFLICTS_OPEN: Final = Gauge(
    "darkroom_conflicts_open", "Conflicts that wait for an operator.", ["kind"]
)
RESOLUTIONS: Final = Counter(
    "darkroom_conflict_resolutions_total",
    "Decisions about conflicts that have entered a state.",
    ["action", "state"],
)
EDITS: Final = Counter(
    "darkroom_study_edits_total", "Edits of studies that have entered a state.", ["action", "state"]
)
TAG_JOBS: Final = Counter(
    "darkroom_tag_jobs_total",
    "Jobs after changes of the indexed tags that have entered a state.",
    ["action", "state"],
)
REMOVALS: Final = Counter(
    "darkroom_study_removals_total",
    "Deletions of studies, and restorations, that have entered a state.",
    ["action", "state"],
)
FINDINGS_OPEN: Final = Gauge(
    "darkroom_verification_findings", "Findings of verification that are open.", ["kind"]
)
VERIFIED_OLDEST: Final = Gauge(
    "darkroom_verification_oldest_seconds",
    "Since the object that has waited longest was stored or last read back.",
)
RECONCILED: Final = Counter(
    "darkroom_reconciled_total", "Objects without a row that were published again."
)

# --- jobs of transmit and print --------------------------------------------------------------
JOBS: Final = Counter("darkroom_jobs_total", "Jobs accepted.", ["service"])

# --- transmit --------------------------------------------------------------------------------
TRANSMIT_JOBS: Final = Counter(
    "darkroom_transmit_jobs_total", "Jobs that have entered a state.", ["destination", "state"]
)
TRANSMIT_WAITING: Final = Gauge(
    "darkroom_transmit_jobs_now", "Jobs in a state now.", ["destination", "state"]
)
TRANSMIT_OLDEST: Final = Gauge(
    "darkroom_transmit_oldest_seconds", "Age of the oldest job that is not sent.", ["destination"]
)
TRANSMIT_INSTANCES: Final = Counter(
    "darkroom_transmit_instances_total", "Instances answered.", ["destination", "outcome"]
)  # outcome: sent, warned, retry, suspect, failed
TRANSMIT_BYTES: Final = Counter(
    "darkroom_transmit_bytes_total", "Bytes of data sets sent.", ["destination"]
)
TRANSMIT_SECONDS: Final = Histogram(
    "darkroom_transmit_batch_seconds", "Time to send a batch.", ["destination"], buckets=_LATENCY
)
TRANSMIT_FAULTS: Final = Counter(
    "darkroom_transmit_faults_total", "Associations that failed.", ["destination", "reason"]
)
TRANSMIT_BREAKER: Final = Gauge(
    "darkroom_transmit_breaker", "1 for the state of the breaker.", ["destination", "state"]
)
TRANSMIT_OPEN: Final = Gauge(
    "darkroom_transmit_window_open", "1 while it may be sent to.", ["destination"]
)
TRANSMIT_ASSOCIATIONS: Final = Gauge(
    "darkroom_transmit_associations", "Associations of ours.", ["state"]
)  # state: used, idle
TRANSMIT_POOL_EXHAUSTED: Final = Counter(
    "darkroom_transmit_pool_exhausted_total", "Waits for an association in vain.", ["called_ae"]
)
TRANSMIT_COMMITMENTS: Final = Counter(
    "darkroom_transmit_commitments_total", "Storage commitments.", ["destination", "outcome"]
)  # outcome: asked, committed, partly, expired
COMMITMENT_JOBS: Final = Counter(
    "darkroom_commitment_jobs_total",
    "Jobs that have entered a state of storage commitment.",
    ["destination", "state"],
)
REMOTE_REQUESTS: Final = Counter(
    "darkroom_remote_requests_total",
    "Asked of other nodes.",
    ["destination", "operation", "outcome"],
)  # fmt: skip # operation: study, series, image, worklist, create, set
REMOTE_SECONDS: Final = Histogram(
    "darkroom_remote_seconds",
    "Until a node has answered.",
    ["destination", "operation"],
    buckets=_LATENCY,
)
RETRIEVE_JOBS: Final = Counter(
    "darkroom_retrieve_jobs_total",
    "Retrieve jobs that have entered a state.",
    ["destination", "state"],
)
RETRIEVE_INSTANCES: Final = Counter(
    "darkroom_retrieve_instances_total", "Sub-operations of retrieving.", ["destination", "outcome"]
)  # outcome: completed, warned, failed
PREFETCH_JOBS: Final = Counter(
    "darkroom_prefetch_jobs_total",
    "Searches for priors that have entered a state.",
    ["destination", "state"],
)
PREFETCHED: Final = Counter("darkroom_prefetched_studies_total", "Priors asked for.", ["rule"])
ROUTED: Final = Counter("darkroom_routed_instances_total", "Instances routed.", ["rule"])

# --- api -------------------------------------------------------------------------------------
LOGINS: Final = Counter(
    "darkroom_logins_total", "Attempts to sign in; accepted, refused, locked or busy.", ["result"]
)
EXPORTS: Final = Counter(
    "darkroom_exports_total", "Exports that have entered a state.", ["format", "state"]
)
BULK_CHANGES: Final = Counter(
    "darkroom_bulk_changes_total",
    "Changes of more than 5,000 examinations that have entered a state.",
    ["operation", "state"],
)
MAILS: Final = Counter(
    "darkroom_mails_total", "E-mail that has entered a state.", ["template", "state"]
)
HTTP_REQUESTS: Final = Counter(
    "darkroom_http_requests_total", "Requests answered.", ["method", "route", "status"]
)
HTTP_SECONDS: Final = Histogram(
    "darkroom_http_seconds", "Time to the last byte.", ["method", "route"], buckets=_LATENCY
)
DEAD_LETTERS: Final = Gauge(
    "darkroom_dead_letters",
    "Messages that were given up and wait for an operator; of the database: of all replicas alike.",
    ["queue"],
)
RATE_LIMITED: Final = Counter(
    "darkroom_rate_limited_total", "Requests refused by a rate limit.", ["limit"]
)
AUDIT_PENDING_SECONDS: Final = Gauge(
    "darkroom_audit_pending_seconds", "Age of the oldest audit row that is not in the chain yet."
)
AUDIT_BROKEN: Final = Gauge(
    "darkroom_audit_broken", "1 when the chain of the audit log lacks a link that it has had."
)
ATNA_SENT: Final = Counter(
    "darkroom_atna_sent_total", "Rows of the audit log sent to the audit record repository."
)
ATNA_FAILED: Final = Counter(
    "darkroom_atna_failed_total", "Attempts to send them that have failed."
)
ATNA_OLDEST_SECONDS: Final = Gauge(
    "darkroom_atna_oldest_seconds", "Age of the oldest part of the audit log that waits for it."
)
AUDIT_LOST: Final = Counter(
    "darkroom_audit_lost_total", "Associations that could not be kept for the audit log."
)

# --- licensing -------------------------------------------------------------------------------
LICENCE_STATE: Final = Gauge("darkroom_licence_state", "1 for the state in force.", ["state"])
LICENCE_READ_ONLY: Final = Gauge(
    "darkroom_licence_read_only", "1 while new administrative work is refused."
)
LICENCE_READ_ONLY_FROM: Final = Gauge(
    "darkroom_licence_read_only_from_seconds", "When it is refused, since 1970; 0: not foreseen."
)
LICENCE_ENDS: Final = Gauge(
    "darkroom_licence_ends_seconds", "When the licence ends, since 1970; 0: it does not."
)
LICENCE_CHECKS: Final = Counter(
    "darkroom_licence_checks_total", "Questions for the licence, by what came of them.", ["outcome"]
)
LICENCE_KEY_EXPIRES: Final = Gauge(
    "darkroom_licence_key_expires_seconds", "When our own API key of Odoo expires, since 1970."
)

# --- print -----------------------------------------------------------------------------------
PRINT_JOBS: Final = Counter(
    "darkroom_print_jobs_total", "Jobs that have entered a state.", ["printer", "state"]
)
PRINT_WAITING: Final = Gauge(
    "darkroom_print_jobs_now", "Jobs in a state now.", ["printer", "state"]
)
PRINT_FILMS: Final = Counter("darkroom_print_films_total", "Films printed.", ["printer"])
PRINT_COMPOSING: Final = Histogram(
    "darkroom_print_composing_seconds", "Time to compose a film.", buckets=_LATENCY
)
PRINT_FAULTS: Final = Counter(
    "darkroom_print_faults_total", "Associations that failed.", ["printer", "reason"]
)
