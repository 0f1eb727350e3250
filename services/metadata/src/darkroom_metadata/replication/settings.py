"""What metadata can be told of replication."""

from pydantic import Field, SecretStr

from darkroom_common.settings import SettingsBase

SITE = r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$"


class ReplicationSettings(SettingsBase):
    """Where all objects and changes are sent, and from where those of another site come."""

    replication_url: str = Field(
        default="",
        description="second store, as STORE_URL: file:///... or s3://...; empty: no replication",
    )
    replication_site: str = Field(
        default="main", pattern=SITE, description="name of this site, which no other one has"
    )
    replication_keys: SecretStr | None = Field(
        default=None,
        description="keys that seal what sites tell each other, as PHI_KEYS; unset: PHI_KEYS",
    )
    replication_peer_url: str = Field(
        default="",
        description="second store of another site, whose objects and changes are taken from there",
    )
    replication_peer: str = Field(default="peer", pattern=SITE, description="name of that site")
    replication_bytes_per_second: int = Field(
        default=0, ge=0, description="limit of copying to the second store; 0 is no limit"
    )
    replication_journal_days: int = Field(
        default=90,
        ge=0,
        description="days after which what was told another site is removed, once it is read there;"
        " where no other site is followed, after so many days whether it is read or not; 0: never",
    )
