"""What metadata can be told."""

from pydantic import Field, SecretStr

from darkroom_common.settings import RetentionSettings, WorkerSettings
from darkroom_common.specs.retention import RetentionRule
from darkroom_metadata.replication.settings import ReplicationSettings


class MetadataSettings(WorkerSettings, RetentionSettings, ReplicationSettings):
    """Settings of metadata."""

    store_url: str
    phi_keys: SecretStr
    blind_index_key: SecretStr
    quiet_seconds: float = Field(
        default=60.0, gt=0, description="a study is complete when nothing came for so long"
    )
    batch_size: int = Field(default=200, ge=1, le=500)
    database_connections: int = Field(
        default=10,
        ge=3,
        le=100,
        description="to PostgreSQL at a time; a check of health has one more",
    )
    verify_bytes_per_second: int = Field(
        default=20 << 20, ge=0, description="limit of reading back; 0 is no limit"
    )
    verify_interval_days: float = Field(
        default=30.0,
        ge=0,
        description="every object is read back so often, of two stores every one of the fast one;"
        " 0 is never",
    )
    verify_slow_days: float = Field(
        default=90.0,
        ge=0,
        description="every object of the slow store of two is read back so often; 0 is never",
    )
    verify_archive_days: float = Field(
        default=0.0,
        ge=0,
        description="in the place of VERIFY_SLOW_DAYS where the slow store has a class whose reads"
        " are charged; 0 is never: its objects are looked for, and not read",
    )
    verify_consistency_hours: float = Field(
        default=24.0, ge=0, description="index and store are compared so often; 0 is never"
    )
    verify_grace_seconds: float = Field(
        default=3600.0, ge=0, description="an object may be without a row for so long"
    )
    verify_repair: bool = Field(
        default=False, description="the scheduled comparison publishes orphans again"
    )
    verify_replica_days: float = Field(
        default=90.0, ge=0, description="the second store is read back so often; 0 is never"
    )
    discarded_days: float = Field(
        default=30.0, ge=0, description="the object of a discarded conflict is kept for so long"
    )
    purge_days: float = Field(
        default=30.0, ge=0, description="a study that was deleted can be restored for so long"
    )
    retention_purge: bool = Field(
        default=False,
        description="each night studies that no rule of retention keeps any longer are deleted;"
        " restorable for PURGE_DAYS",
    )
    retention_hour: int = Field(
        default=2, ge=0, le=23, description="of UTC, at which a night's run of retention begins"
    )
    purge_per_minute: float = Field(
        default=60.0,
        ge=0,
        description="studies that retention deletes, and that are purged, at most; 0 is no limit",
    )
    tier_rules: tuple[RetentionRule, ...] = Field(
        default=(),
        description="JSON list as RETENTION_RULES: of a study that one fits, objects move to the"
        " second store of STORE_URL `years` after its date; one that none fits stays",
    )
    tier_recall_days: float = Field(
        default=7.0, ge=0, description="a recalled study stays in the first store as well"
    )
    tier_bytes_per_second: int = Field(
        default=20 << 20, ge=0, description="that are moved and recalled at most; 0 is no limit"
    )
