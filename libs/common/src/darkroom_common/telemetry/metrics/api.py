"""What the api shows: requests, people, dead letters, the audit log."""

from typing import Final

from darkroom_common.telemetry.metrics.common import QUEUE
from darkroom_common.telemetry.metrics.rows import Rows, bounded, one_of

_of: Final = Rows("api")
_METHOD: Final = one_of(
    "method", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "OTHER"
)
_ROUTE: Final = bounded("route", "the routes of docs/security.md, without the values of a path")

LOGINS: Final = _of.counter(
    "darkroom_logins_total",
    "Attempts to sign in.",
    one_of("result", "accepted", "refused", "locked", "busy"),
)
HTTP_REQUESTS: Final = _of.counter(
    "darkroom_http_requests_total",
    "Requests answered.",
    _METHOD,
    _ROUTE,
    bounded("status", "the statuses of HTTP", "[1-5][0-9][0-9]"),
    classic="http_requests_total",
)
HTTP_SECONDS: Final = _of.histogram(
    "darkroom_http_seconds",
    "Time to the last byte.",
    _METHOD,
    _ROUTE,
    classic="http_request_duration_seconds",
)
DEAD_LETTERS: Final = _of.gauge(
    "darkroom_dead_letters",
    "Messages that were given up and wait for an operator; of the database: of all replicas alike.",
    QUEUE,
)
DEAD_LETTERS_OLDEST: Final = _of.gauge(
    "darkroom_dead_letters_oldest_seconds", "Since the oldest of them was given up.", QUEUE
)
QUEUE_WAITING: Final = _of.gauge(
    "darkroom_queue_waiting_seconds",
    "Since the queue was last seen empty: its oldest message has waited no longer.",
    QUEUE,
)
USERS_ACTIVE: Final = _of.gauge(
    "darkroom_users_active",
    "People with a request in the last 15 minutes; of the database: of all replicas alike.",
    classic="active_users_total",
)
SESSIONS: Final = _of.gauge("darkroom_sessions", "Sessions that have not ended.")
DATABASE_CONNECTIONS: Final = _of.gauge(
    "darkroom_database_connections", "Connections of the database, by whomever."
)
DATABASE_CONNECTIONS_LIMIT: Final = _of.gauge(
    "darkroom_database_connections_limit", "Connections that the server takes."
)
DATABASE_BYTES: Final = _of.gauge("darkroom_database_bytes", "Size of the database.")
CACHE_ASKED: Final = _of.counter(
    "darkroom_cache_asked_total",
    "Questions for an answer that may be kept in memory.",
    one_of("cache", "rendered", "metadata"),
    one_of("outcome", "hit", "miss"),
    classic="cache_hits_total / cache_gets_total",
)
RATE_LIMITED: Final = _of.counter(
    "darkroom_rate_limited_total",
    "Requests refused by a rate limit.",
    bounded("limit", "the limits of docs/rest.md"),
)
AUDIT_PENDING_SECONDS: Final = _of.gauge(
    "darkroom_audit_pending_seconds", "Age of the oldest audit row that is not in the chain yet."
)
AUDIT_BROKEN: Final = _of.gauge(
    "darkroom_audit_broken", "1 when the chain of the audit log lacks a link that it has had."
)
ATNA_SENT: Final = _of.counter(
    "darkroom_atna_sent_total", "Rows of the audit log sent to the audit record repository."
)
ATNA_FAILED: Final = _of.counter(
    "darkroom_atna_failed_total", "Attempts to send them that have failed."
)
ATNA_OLDEST_SECONDS: Final = _of.gauge(
    "darkroom_atna_oldest_seconds", "Age of the oldest part of the audit log that waits for it."
)
EVENT_LISTENERS: Final = _of.gauge(
    "darkroom_event_listeners", "Who listens to the event stream of this process."
)
CALLBACKS_DISABLED: Final = _of.gauge(
    "darkroom_callbacks_disabled",
    "Callbacks that have failed too often: nothing is sent to them; of all replicas alike.",
)
