"""What every service shows: itself, its listener, the broker, the database, its jobs."""

from typing import Final

from darkroom_common.telemetry.metrics.rows import SERVICES, Rows, bounded, one_of

QUEUE: Final = bounded("queue", "topology.py: a queue, its dead letters, the tiers of retries")
_TYPE: Final = bounded("type", "the messages of docs/messages.md")
_SERVICE: Final = one_of("service", *SERVICES)
_REASON: Final = bounded("reason", "the words of the code for what can go wrong")
_POOL: Final = one_of("pool", "work", "planned", "aside", "unflushed")
JOB: Final = (
    bounded("kind", "the kinds of jobs: send, retrieve, print, export, ..."),
    bounded("lane", "what jobs of a kind queue for: names of destinations and printers, or words"),
)
STATE: Final = bounded("state", "the states of the kind", "[A-Z_]+")
_of: Final = Rows(*SERVICES)

# --- itself ----------------------------------------------------------------------------------
BUILD_INFO: Final = _of.gauge(
    "darkroom_build_info",
    "Always 1; labels say what runs.",
    _SERVICE,
    bounded("version", "the release"),
)
READY: Final = _of.gauge(
    "darkroom_ready", "1 when /readyz answers 200; asked anew by each scrape.", _SERVICE
)
DEPENDENCY_UP: Final = _of.gauge(
    "darkroom_dependency_up",
    "1 when the dependency answers.",
    bounded("dependency", "the checks of /readyz"),
)
HTTP_CLOSED: Final = _of.counter(
    "darkroom_http_connections_closed_total",
    "Connections that were refused or closed by a limit.",
    bounded("listener", "health, and http of the api"),
    _REASON,
)

# --- broker ----------------------------------------------------------------------------------
PUBLISHED: Final = _of.counter(
    "darkroom_amqp_published_total", "Messages confirmed by the broker.", _TYPE
)
PUBLISH_FAILED: Final = _of.counter(
    "darkroom_amqp_publish_failed_total", "Publishes without a confirm.", _TYPE, _REASON
)
PUBLISH_SECONDS: Final = _of.histogram(
    "darkroom_amqp_publish_seconds", "From publish to confirm.", _TYPE
)
CONSUMED: Final = _of.counter(
    "darkroom_amqp_consumed_total",
    "Deliveries settled.",
    QUEUE,
    one_of("outcome", "done", "retry", "dead"),
)
REQUESTS_LATE: Final = _of.counter(
    "darkroom_amqp_requests_late_total", "Requests dropped after their deadline.", _TYPE
)
HANDLE_SECONDS: Final = _of.histogram(
    "darkroom_amqp_handle_seconds", "Time of one handler call.", QUEUE
)
IN_FLIGHT: Final = _of.gauge("darkroom_amqp_in_flight", "Deliveries being handled.", QUEUE)
QUEUE_DEPTH: Final = _of.gauge(
    "darkroom_queue_depth",
    "Messages ready in a queue: each consumer asks for its own, the api for all.",
    QUEUE,
)
CONSUMER_PAUSED: Final = _of.gauge("darkroom_consumer_paused", "1 while nearly all fails.", QUEUE)
CONSUMER_REBUILT: Final = _of.counter(
    "darkroom_consumer_rebuilt_total", "Consumers rebuilt by the watchdog.", QUEUE
)
BROKER_CONNECTED: Final = _of.gauge(
    "darkroom_broker_connected", "1 while connected.", one_of("purpose", "publish", "consume")
)

# --- database --------------------------------------------------------------------------------
POOL_SIZE: Final = _of.gauge(
    "darkroom_postgres_pool_connections",
    "Connections of a pool of this process: in use, or open and idle.",
    _POOL,
    one_of("state", "used", "idle"),
    classic="django_db_connections_in_use",
)
POOL_LIMIT: Final = _of.gauge(
    "darkroom_postgres_pool_limit",
    "Connections that a pool of this process may have.",
    _POOL,
    classic="django_db_connections_limit",
)
OUTBOX_PENDING: Final = _of.gauge(
    "darkroom_outbox_pending", "Rows that wait to be published, as many as one look takes."
)

# --- jobs ------------------------------------------------------------------------------------
_jobs: Final = Rows("metadata", "transmit", "print", "api")
JOBS: Final = _jobs.counter("darkroom_jobs_total", "Jobs that have entered a state.", *JOB, STATE)
JOBS_NOW: Final = _jobs.gauge(
    "darkroom_jobs_now", "Jobs in a state now; of the database: of all replicas alike.", *JOB, STATE
)
JOBS_OLDEST: Final = _jobs.gauge(
    "darkroom_jobs_oldest_seconds", "Age of the oldest job that has not ended.", *JOB
)
JOB_SECONDS: Final = _jobs.histogram(
    "darkroom_job_seconds",
    "From when a job was asked for until it ended well.",
    JOB[0],
    buckets=(0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0),
)

# --- DIMSE -----------------------------------------------------------------------------------
_dimse: Final = Rows("ingest", "transmit")
_LISTENER: Final = one_of(
    "listener", "dicom-tls", "dicom-tls-client", "https", "amqp", "inner", "calling"
)
ASSOCIATIONS: Final = _dimse.counter(
    "darkroom_associations_total",
    "Associations of others with us.",
    one_of("outcome", "accepted", "rejected", "released", "aborted"),
)
ASSOCIATIONS_OPEN: Final = _dimse.gauge("darkroom_associations_open", "Associations open now.")
ASSOCIATIONS_LIMIT: Final = _dimse.gauge(
    "darkroom_associations_limit", "Associations that may be open at a time."
)
TLS_HANDSHAKES: Final = _dimse.counter(
    "darkroom_tls_handshakes_total",
    "TLS handshakes as a server.",
    one_of("outcome", "done", "refused", "ended"),
)
STORE_RESPONSES: Final = _dimse.counter(
    "darkroom_store_responses_total",
    "Answers to objects, by C-STORE and STOW.",
    bounded("status", "the statuses of PS3.4 and PS3.7, four digits", "[0-9A-F]{4}"),
)
CERTIFICATE_EXPIRES: Final = Rows(*SERVICES).gauge(
    "darkroom_certificate_expires_timestamp_seconds",
    "When the certificate in force expires, since 1970.",
    _LISTENER,
)
CERTIFICATE_REFUSED: Final = Rows(*SERVICES).counter(
    "darkroom_certificate_refused_total", "Changed certificates that are no good.", _LISTENER
)
AUDIT_LOST: Final = Rows(*SERVICES).counter(
    "darkroom_audit_lost_total", "Associations that could not be kept for the audit log."
)
for _status in ("0000", "A700"):
    STORE_RESPONSES.labels(_status)  # what alerts ask for is there before it happens
