"""For each alert: series with which it fires after two hours, and such with which it does not."""

from dataclasses import dataclass, field
from typing import Final

DAY: Final = 86400


@dataclass(frozen=True)
class Case:
    """Series by their values, a minute apart, as promtool writes them; and the labels it has then.

    Attributes:
        fires, quiet: with `x` and a number behind the values.
        labels: of the alert, beside its severity.
        value: as the summary has it, if it does.
    """

    fires: dict[str, str]
    quiet: dict[str, str]
    labels: dict[str, str] = field(default_factory=dict)
    value: str = ""


def gauge(series: str, bad: float, good: float, **labels: str) -> Case:
    """One series that is bad or good all the time."""
    return Case({series: f"{bad:g}x150"}, {series: f"{good:g}x150"}, labels)


def counted(series: str, **labels: str) -> Case:
    """A counter that goes on, or rests."""
    return Case({series: "0+1x150"}, {series: "7x150"}, labels)


def share(part: str, whole: str, bad: float, good: float, **labels: str) -> Case:
    """A part of a whole of 100."""
    return Case(
        {part: f"{bad:g}x150", whole: "100x150"}, {part: f"{good:g}x150", whole: "100x150"}, labels
    )


def slow(name: str, quick: str, late: str) -> Case:
    """A histogram all of which is between two buckets, or below the first."""

    def series(early: str) -> dict[str, str]:
        return {
            f'{name}_bucket{{le="{quick}"}}': early,
            f'{name}_bucket{{le="{late}"}}': "0+10x150",
            f'{name}_bucket{{le="+Inf"}}': "0+10x150",
        }

    return Case(series("0x150"), series("0+10x150"))


def up(*names: str) -> dict[str, str]:
    return {f'up{{job="{name}",instance="one"}}': "1x150" for name in names}


_FIVE: Final = ("ingest", "metadata", "transmit", "print", "api")
ALL_UP: Final = up(*_FIVE, "licensing")
_RATIO: Final = 'darkroom_cache_asked_total{cache="rendered",outcome="%s"}'
_STORAGE: Final = (
    'darkroom_storage_free_bytes{volume="spool"}',
    'darkroom_storage_total_bytes{volume="spool"}',
)
_POOL: Final = '{job="api",instance="one",pool="work"}'
_USED: Final = '{job="api",instance="one",pool="work",state="used"}'
_CPU: Final = 'darkroom_host_cpu_seconds_total{instance="one",mode="%s"}'
_MEMORY: Final = 'darkroom_host_memory_bytes{instance="one",state="%s"}'
_EXPIRES: Final = 'darkroom_certificate_expires_timestamp_seconds{listener="dicom-tls"}'
_HTTP: Final = 'darkroom_http_requests_total{method="GET",route="/a",status="%s"}'
_ASSOCIATIONS: Final = 'darkroom_associations_%s{job="ingest"}'

CASES: Final[dict[str, Case]] = {
    "DarkroomStorageLow": share(*_STORAGE, 15, 25, volume="spool"),
    "DarkroomStorageCritical": share(*_STORAGE, 9, 15, volume="spool"),
    "DarkroomObjectsRefused": counted('darkroom_store_responses_total{status="A700"}'),
    "DarkroomSpoolBacklog": gauge("darkroom_spool_oldest_seconds", 90, 30),
    "DarkroomNotReady": gauge('darkroom_ready{service="api"}', 0, 1, service="api"),
    "DarkroomBrokerAway": gauge(
        'darkroom_broker_connected{job="api",purpose="publish"}', 0, 1, job="api", purpose="publish"
    ),
    "DarkroomPublishFails": counted(
        'darkroom_amqp_publish_failed_total{type="a.b.v1",reason="BrokerUnavailable"}',
        type="a.b.v1",
        reason="BrokerUnavailable",
    ),
    "DarkroomConsumerPaused": gauge(
        'darkroom_consumer_paused{queue="print.jobs"}', 1, 0, queue="print.jobs"
    ),
    "DarkroomQueueBacklog": gauge(
        'darkroom_queue_depth{queue="print.jobs"}', 10001, 9999, queue="print.jobs"
    ),
    "DarkroomIndexLag": slow("darkroom_index_lag_seconds", "60", "300"),
    "DarkroomQuarantine": counted(
        'darkroom_quarantined_total{reason="truncated"}', reason="truncated"
    ),
    "DarkroomQuarantineFull": counted('darkroom_quarantine_refused_total{reason="truncated"}'),
    "DarkroomDamage": gauge(
        'darkroom_verification_findings{kind="missing-object"}', 1, 0, kind="missing-object"
    ),
    "DarkroomReplicationLate": Case(
        {"darkroom_replication_lag_seconds": "901x150"},
        {"darkroom_replication_lag_seconds": "899x150"},
        value="901",
    ),
    "DarkroomReplicationFails": counted('darkroom_replicated_total{outcome="failed"}'),
    "DarkroomRepaired": counted('darkroom_repaired_total{outcome="repaired"}', outcome="repaired"),
    "DarkroomReplicationDisagrees": counted(
        'darkroom_replication_taken_total{outcome="refused"}', outcome="refused"
    ),
    "DarkroomReplicationPeerLate": Case(
        {"darkroom_replication_untaken_seconds": "901x150"},
        {"darkroom_replication_untaken_seconds": "899x150"},
        value="901",
    ),
    "DarkroomReplicationPeerAway": gauge("darkroom_replication_peer_up", 0, 1),
    "DarkroomShippingStopped": gauge("darkroom_shipping_stopped", 1, 0),
    "DarkroomConflicts": gauge(
        'darkroom_conflicts_open{kind="patient",job="metadata"}', 2, 0, kind="patient"
    ),
    "DarkroomVerificationLate": gauge(
        'darkroom_verification_late_seconds{tier="slow"}', 11 * DAY, 9 * DAY, tier="slow"
    ),
    "DarkroomSendersNotRead": counted(
        'darkroom_senders_not_read_total{reason="away"}', reason="away"
    ),
    "DarkroomCertificateExpires": gauge(_EXPIRES, 20 * DAY, 22 * DAY, listener="dicom-tls"),
    "DarkroomCertificateExpiresSoon": gauge(_EXPIRES, 3 * DAY, 4 * DAY, listener="dicom-tls"),
    "DarkroomCertificateRefused": counted(
        'darkroom_certificate_refused_total{listener="dicom-tls"}', listener="dicom-tls"
    ),
    "DarkroomLoginsRefused": Case(
        {'darkroom_logins_total{result="refused"}': "0+20x150"},
        {'darkroom_logins_total{result="refused"}': "0+5x150"},
    ),
    "DarkroomDeadLetters": Case(
        {'darkroom_dead_letters{queue="print.jobs"}': "3x150"},
        {'darkroom_dead_letters{queue="print.jobs"}': "0x150"},
        {"queue": "print.jobs"},
        "3",
    ),
    "DarkroomMailFails": counted('darkroom_jobs_total{kind="mail",lane="test",state="RETRYING"}'),
    "DarkroomCallbackDisabled": Case(
        {"darkroom_callbacks_disabled": "2x150"},
        {"darkroom_callbacks_disabled": "0x150"},
        value="2",
    ),
    "DarkroomAuditBroken": gauge("darkroom_audit_broken", 1, 0),
    "DarkroomAuditLate": gauge("darkroom_audit_pending_seconds", 400, 200),
    "DarkroomAuditLost": counted("darkroom_audit_lost_total"),
    "DarkroomAuditNotSent": gauge("darkroom_atna_oldest_seconds", 4000, 3000),
    "DarkroomServiceDown": gauge(
        'up{job="print",instance="one"}', 0, 1, job="print", instance="one"
    ),
    "DarkroomServiceAbsent": Case(up(*_FIVE), ALL_UP, {"job": "licensing"}),
    "DarkroomDatabaseAway": gauge(
        'darkroom_dependency_up{job="api",dependency="postgres"}',
        0,
        1,
        job="api",
        dependency="postgres",
    ),
    "DarkroomStoreAway": gauge(
        'darkroom_dependency_up{job="api",dependency="store"}', 0, 1, job="api", dependency="store"
    ),
    "DarkroomHttpErrors": counted(_HTTP % "503"),
    "DarkroomHttpSlow": slow("darkroom_http_seconds", "1", "2.5"),
    "DarkroomPoolExhausted": share(
        f"darkroom_postgres_pool_connections{_USED}",
        f"darkroom_postgres_pool_limit{_POOL}",
        95,
        85,
        job="api",
        instance="one",
        pool="work",
    ),
    "DarkroomDatabaseFull": share(
        "darkroom_database_connections", "darkroom_database_connections_limit", 95, 85
    ),
    "DarkroomCacheHitRateLow": Case(
        {_RATIO % "hit": "0+60x150", _RATIO % "miss": "0+40x150"},
        {_RATIO % "hit": "0+80x150", _RATIO % "miss": "0+20x150"},
        {"cache": "rendered"},
    ),
    "DarkroomDeadLetterQueue": gauge(
        'darkroom_queue_depth{queue="print.jobs.dead"}', 1, 0, queue="print.jobs.dead"
    ),
    "DarkroomQueueStuck": gauge(
        'darkroom_queue_waiting_seconds{queue="print.jobs"}', 1000, 800, queue="print.jobs"
    ),
    "DarkroomJobsOld": gauge(
        'darkroom_jobs_oldest_seconds{kind="send",lane="PACS"}',
        4000,
        3000,
        kind="send",
        lane="PACS",
    ),
    "DarkroomJobsFail": counted(
        'darkroom_jobs_total{kind="send",lane="PACS",state="FAILED"}', kind="send", lane="PACS"
    ),
    "DarkroomDestinationAway": gauge(
        'darkroom_transmit_breaker{destination="PACS",state="open"}', 1, 0, destination="PACS"
    ),
    "DarkroomNodeDown": gauge(
        'darkroom_echo_up{kind="destination",name="PACS"}', 0, 1, kind="destination", name="PACS"
    ),
    "DarkroomPrinterFails": counted(
        'darkroom_print_faults_total{printer="FILM",reason="Timeout"}', printer="FILM"
    ),
    "DarkroomTransmitPoolExhausted": counted(
        'darkroom_transmit_pool_exhausted_total{called_ae="PACS"}', called_ae="PACS"
    ),
    "DarkroomAssociationsFull": share(
        _ASSOCIATIONS % "open", _ASSOCIATIONS % "limit", 95, 85, job="ingest"
    ),
    "DarkroomLicenceEnds": gauge("darkroom_licence_ends_seconds", 20 * DAY, 0),
    "DarkroomLicenceReadOnly": gauge("darkroom_licence_read_only", 1, 0),
    "DarkroomLicenceNotAsked": gauge(
        'darkroom_dependency_up{dependency="odoo"}', 0, 1, dependency="odoo"
    ),
    "DarkroomHostCpu": Case(
        {_CPU % "user": "0+57x150", _CPU % "idle": "0+3x150"},
        {_CPU % "user": "0+30x150", _CPU % "idle": "0+30x150"},
        {"instance": "one"},
    ),
    "DarkroomHostMemory": share(_MEMORY % "available", _MEMORY % "total", 5, 50, instance="one"),
    "DarkroomUnattended": Case(
        {'darkroom_storage_free_bytes{volume="spool"}': "1x150", _STORAGE[1]: "100x150"} | ALL_UP,
        {'darkroom_storage_free_bytes{volume="spool"}': "15x150", _STORAGE[1]: "100x150"} | ALL_UP,
        {"volume": "spool", "alertstate": "firing", "unattended": "DarkroomStorageCritical"},
    ),
}
