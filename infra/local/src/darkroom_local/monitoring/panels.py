"""What the dashboards show: panels as values, with the titles that operators know them by."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from darkroom_common.telemetry.metrics import rows
from darkroom_common.telemetry.metrics.rows import Row

_NAME: Final = re.compile(r"darkroom_[a-z0-9_]+")
_BY_SERIES: Final = {name: row for row in rows().values() for name in row.series}


@dataclass(frozen=True)
class Panel:
    """A panel.

    Attributes:
        title: of 000 or 002 where they name it.
        shows: expressions of PromQL, each with the legend of its series.
        unit: of the values, as Grafana calls it; empty: that of the metric.
        now: whether the last value is shown, large, and not its course.
    """

    title: str
    shows: tuple[tuple[str, str], ...]
    unit: str = ""
    now: bool = False

    @property
    def metrics(self) -> tuple[Row, ...]:
        """The rows of the table that it asks for, each once."""
        found = [
            _BY_SERIES[name]
            for expression, _ in self.shows
            for name in _NAME.findall(expression)
            if name in _BY_SERIES
        ]
        return tuple(dict.fromkeys(found))

    @property
    def grafana_unit(self) -> str:
        """The unit in Grafana's words."""
        if self.unit:
            return self.unit
        units = {row.unit for row in self.metrics}
        of_rate = any("rate(" in expression for expression, _ in self.shows)
        if units == {"bytes"}:
            return "Bps" if of_rate else "bytes"
        return "s" if units == {"seconds"} else "short"


def _one(title: str, expression: str, legend: str, unit: str = "", *, now: bool = False) -> Panel:
    return Panel(title, ((expression, legend),), unit, now)


def _p95(name: str, *by: str) -> str:
    kept = ", ".join((*by, "le"))
    return f"histogram_quantile(0.95, sum by ({kept}) (rate({name}_bucket[5m])))"


def _rate(name: str, *by: str) -> str:
    return f"sum by ({', '.join(by)}) (rate({name}[5m]))" if by else f"sum(rate({name}[5m]))"


def _percent(part: str, whole: str, *by: str) -> str:
    kept = f" by ({', '.join(by)})" if by else ""
    return f"100 * sum{kept} ({part}) / sum{kept} ({whole})"


_CPU: Final = "rate(darkroom_host_cpu_seconds_total[5m])"
_CPU_OF: Final = 'rate(darkroom_host_cpu_seconds_total{mode=~"%s"}[5m])'
_MEMORY: Final = 'darkroom_host_memory_bytes{state="%s"}'
_ASKED: Final = "rate(darkroom_cache_asked_total[5m])"
_HIT: Final = 'rate(darkroom_cache_asked_total{outcome="hit"}[5m])'
_POOL_USED: Final = 'darkroom_postgres_pool_connections{state="used"}'
_OR_NONE: Final = " or vector(0)"
_DEAD: Final = 'queue=~".*[.]dead"'

DASHBOARDS: Final[dict[str, tuple[Panel, ...]]] = {
    "Operations": (
        _one("Service Status", 'up{job=~"$service"}', "{{job}}", now=True),
        _one(
            "DB/MQ Connectivity",
            "min by (dependency) (darkroom_dependency_up)",
            "{{dependency}}",
            now=True,
        ),
        _one(
            "DICOM Storage Free Space %",
            "100 * darkroom_storage_free_bytes / darkroom_storage_total_bytes",
            "{{volume}}",
            "percent",
            now=True,
        ),
        _one(
            "Alerts",
            'count by (alertname, severity) (ALERTS{alertstate="firing"})' + _OR_NONE,
            "{{severity}} {{alertname}}",
        ),
        Panel(
            "Queue Depth (Main & DLQ)",
            (
                (
                    f"sum(max by (queue) (darkroom_queue_depth{{{_DEAD.replace('=~', '!~')}}}))",
                    "main",
                ),
                (f"sum(max by (queue) (darkroom_queue_depth{{{_DEAD}}}))", "DLQ"),
                (
                    "sum(max by (queue) (darkroom_dead_letters))",
                    "dead letters that wait for an operator",
                ),
            ),
        ),
        Panel(
            "Server CPU Utilization",
            (
                (_percent(_CPU_OF % "user|system|steal", _CPU, "instance"), "busy {{instance}}"),
                (_percent(_CPU_OF % "iowait", _CPU, "instance"), "waits for disks {{instance}}"),
            ),
            "percent",
        ),
        _one(
            "Server Memory Utilization",
            "100 - " + _percent(_MEMORY % "available", _MEMORY % "total", "instance"),
            "{{instance}}",
            "percent",
        ),
        _one(
            "Disks",
            _rate("darkroom_host_disk_bytes_total", "instance", "direction"),
            "{{direction}} {{instance}}",
        ),
        _one(
            "Network",
            _rate("darkroom_host_network_bytes_total", "instance", "direction"),
            "{{direction}} {{instance}}",
        ),
        _one(
            "Memory of Services",
            'process_resident_memory_bytes{job=~"$service"}',
            "{{job}}",
            "bytes",
        ),
        _one(
            "Certificates: Days Left",
            "(darkroom_certificate_expires_timestamp_seconds - time()) / 86400",
            "{{job}} {{listener}}",
            "d",
            now=True,
        ),
        Panel(
            "Licence",
            (
                ("max by (state) (darkroom_licence_state == 1)", "{{state}}"),
                ("max(darkroom_licence_read_only)", "read only"),
            ),
            now=True,
        ),
    ),
    "DICOM traffic": (
        _one(
            "Objects Received",
            _rate("darkroom_store_responses_total", "status"),
            "{{status}}",
            "ops",
        ),
        _one("Bytes Received", _rate("darkroom_received_bytes_total"), "received"),
        _one("Time to the Answer (P95)", _p95("darkroom_store_seconds"), "P95"),
        Panel(
            "Associations",
            (
                ("sum by (job) (darkroom_associations_open)", "open, {{job}}"),
                ("sum by (job) (darkroom_associations_limit)", "limit, {{job}}"),
            ),
        ),
        _one(
            "Ends of Associations",
            _rate("darkroom_associations_total", "outcome"),
            "{{outcome}}",
            "ops",
        ),
        Panel("Spool", (("sum(darkroom_spool_ready)", "receipts that wait"),)),
        _one("Oldest Receipt in the Spool", "max(darkroom_spool_oldest_seconds)", "age"),
        _one("From Received to Indexed (P95)", _p95("darkroom_index_lag_seconds"), "P95"),
        _one("Instances Indexed", _rate("darkroom_indexed_total", "outcome"), "{{outcome}}", "ops"),
        Panel("Quarantine", (("sum(darkroom_quarantine_items)", "objects"),)),
        _one(
            "STOW", _rate("darkroom_stow_objects_total", "outcome") + _OR_NONE, "{{outcome}}", "ops"
        ),
        _one(
            "Conflicts and Findings",
            "max by (kind) (darkroom_conflicts_open or darkroom_verification_findings)",
            "{{kind}}",
        ),
        Panel(
            "Replication Lag",
            (
                ("max(darkroom_replication_lag_seconds)", "to the second store"),
                ("max(darkroom_replication_untaken_seconds)", "from another site"),
            ),
        ),
        _one("Bytes for the Second Store", "max(darkroom_replication_waiting_bytes)", "waiting"),
        _one("Objects for the Second Store", "max(darkroom_replication_waiting)", "waiting"),
    ),
    "API": (
        _one(
            "Request Rate", _rate("darkroom_http_requests_total", "status"), "{{status}}", "reqps"
        ),
        Panel(
            "Response Time (P95)",
            (
                (_p95("darkroom_http_seconds"), "all"),
                (f"topk(5, {_p95('darkroom_http_seconds', 'route')})", "{{route}}"),
            ),
        ),
        _one(
            "Error Rate",
            'sum(rate(darkroom_http_requests_total{status=~"5.."}[5m])) or vector(0)',
            "5xx",
            "reqps",
        ),
        Panel(
            "Active Users",
            (
                ("max(darkroom_users_active)", "people in the last 15 minutes"),
                ("max(darkroom_sessions)", "sessions"),
            ),
        ),
        _one(
            "Database Connections",
            'sum by (pool, state) (darkroom_postgres_pool_connections{job="api"})',
            "{{pool}} {{state}}",
        ),
        _one(
            "Cache Hit Rate",
            _percent(_HIT, _ASKED + " > 0", "cache") + _OR_NONE,
            "{{cache}}",
            "percent",
        ),
        _one("Signing In", _rate("darkroom_logins_total", "result"), "{{result}}", "ops"),
        _one(
            "Refused by a Rate Limit",
            _rate("darkroom_rate_limited_total", "limit") + _OR_NONE,
            "{{limit}}",
            "reqps",
        ),
        _one(
            "Connections Closed by a Limit",
            _rate("darkroom_http_connections_closed_total", "reason") + _OR_NONE,
            "{{reason}}",
            "ops",
        ),
        _one("Audit Log: Waits for the Chain", "max(darkroom_audit_pending_seconds)", "oldest row"),
    ),
    "Print and transmit": (
        _one(
            "Jobs",
            "sum by (kind, state) (max by (kind, lane, state) (darkroom_jobs_now))",
            "{{kind}} {{state}}",
        ),
        _one(
            "Oldest Job", "max by (kind, lane) (darkroom_jobs_oldest_seconds)", "{{kind}} {{lane}}"
        ),
        _one("From Asked to Done (P95)", _p95("darkroom_job_seconds", "kind"), "{{kind}}"),
        _one(
            "Jobs That Entered a State",
            _rate("darkroom_jobs_total", "kind", "state"),
            "{{kind}} {{state}}",
            "ops",
        ),
        _one(
            "Destinations and Printers That Answer",
            "min by (kind, name) (darkroom_echo_up)",
            "{{kind}} {{name}}",
            now=True,
        ),
        _one(
            "Breakers That Are Open",
            'max by (destination) (darkroom_transmit_breaker{state!="closed"})',
            "{{destination}}",
            now=True,
        ),
        _one(
            "Instances Sent",
            _rate("darkroom_transmit_instances_total", "destination", "outcome") + _OR_NONE,
            "{{destination}} {{outcome}}",
            "ops",
        ),
        _one(
            "Bytes Sent",
            _rate("darkroom_transmit_bytes_total", "destination") + _OR_NONE,
            "{{destination}}",
        ),
        _one(
            "Associations That Failed",
            _rate("darkroom_transmit_faults_total", "destination", "reason"),
            "{{destination}} {{reason}}",
            "ops",
        ),
        Panel(
            "Associations of Ours",
            (
                ("sum by (state) (darkroom_transmit_associations) or vector(0)", "{{state}}"),
                ("max(darkroom_transmit_associations_limit) or vector(0)", "limit of a called AE"),
            ),
        ),
        _one(
            "Films", _rate("darkroom_print_films_total", "printer") + _OR_NONE, "{{printer}}", "ops"
        ),
        _one(
            "Printers That Failed",
            _rate("darkroom_print_faults_total", "printer", "reason") + _OR_NONE,
            "{{printer}} {{reason}}",
            "ops",
        ),
    ),
    "Broker and database": (
        _one(
            "Depth of Each Queue",
            "max by (queue) (darkroom_queue_depth) > 0 or vector(0)",
            "{{queue}}",
        ),
        _one(
            "Not Empty Since",
            "max by (queue) (darkroom_queue_waiting_seconds) > 0 or vector(0)",
            "{{queue}}",
        ),
        _one("Dead Letters", "max by (queue) (darkroom_dead_letters)", "{{queue}}"),
        _one(
            "Oldest Dead Letter",
            "max by (queue) (darkroom_dead_letters_oldest_seconds)",
            "{{queue}}",
        ),
        _one("Published", _rate("darkroom_amqp_published_total", "type"), "{{type}}", "ops"),
        _one("Publish to Confirm (P95)", _p95("darkroom_amqp_publish_seconds", "job"), "{{job}}"),
        _one("Consumed", _rate("darkroom_amqp_consumed_total", "outcome"), "{{outcome}}", "ops"),
        _one("Time of a Handler (P95)", _p95("darkroom_amqp_handle_seconds", "queue"), "{{queue}}"),
        _one(
            "Connected to RabbitMQ",
            "min by (job, purpose) (darkroom_broker_connected)",
            "{{job}} {{purpose}}",
            now=True,
        ),
        Panel(
            "Pools of Connections in Use %",
            ((_percent(_POOL_USED, "darkroom_postgres_pool_limit", "job"), "{{job}}"),),
            "percent",
        ),
        Panel(
            "Connections of PostgreSQL",
            (
                ("max(darkroom_database_connections)", "given"),
                ("max(darkroom_database_connections_limit)", "limit"),
            ),
        ),
        _one("Size of the Database", "max(darkroom_database_bytes)", "bytes"),
        _one("Outbox", "max by (job) (darkroom_outbox_pending)", "{{job}}"),
        _one(
            "Consumers That Pause",
            "max by (queue) (darkroom_consumer_paused) or vector(0)",
            "{{queue}}",
        ),
    ),
}
"""By the title of the dashboard."""
SERVICE: Final = "ingest|metadata|transmit|print|api|licensing"


def asked(expression: str) -> str:
    """Return an expression as Grafana asks it: with the variable of a dashboard replaced."""
    return expression.replace("$service", SERVICE)


def expressions() -> Iterator[tuple[str, Panel, str]]:
    """Yield each expression with its dashboard and panel."""
    for title, panels in DASHBOARDS.items():
        for panel in panels:
            for expression, _ in panel.shows:
                yield title, panel, asked(expression)
