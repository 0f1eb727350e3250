"""What licensing can be told."""

import datetime as dt
from pathlib import Path
from typing import Annotated, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, SecretStr, model_validator

from darkroom_common.settings import Settings
from darkroom_licensing.calendar import EARLIEST_END, LATEST_END, WorkingDays


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("it is no time zone of the IANA's list") from error
    return name


class LicensingSettings(Settings):
    """Settings of licensing. Without ODOO_URL and a licence file this is the community edition."""

    database_connections: int = Field(
        default=4,
        ge=2,
        le=100,
        description="to PostgreSQL at a time; a check of health has one more",
    )
    odoo_url: str | None = Field(
        default=None,
        pattern=r"^https://[^/?#@\s]+/?$",
        description="https://host[:port] of the Odoo that issues the licence",
    )
    odoo_database: str = Field(
        default="", max_length=64, description="its database; JSON-RPC needs it"
    )
    odoo_login: str = Field(default="", max_length=254, description="of the user; for JSON-RPC")
    odoo_api_key: SecretStr | None = Field(
        default=None, description="the first API key; others take its place by themselves"
    )
    odoo_ca: Path | None = Field(
        default=None, description="PEM file of authorities of its certificate; unset: the system's"
    )
    tls_strict: bool = Field(
        default=True, description="its certificate and authorities follow RFC 5280 in all points"
    )
    odoo_proxy: str | None = Field(
        default=None, pattern=r"^https?://\S+$", description="http://host:port on the way to it"
    )
    licence_public_keys: dict[str, str] = Field(
        default_factory=dict,
        description="JSON object: base64 of the Ed25519 keys that sign licences, by their names",
    )
    licence_installation: str = Field(
        default="", max_length=64, description="the name of this installation in its licence"
    )
    licence_file: Path | None = Field(
        default=None, description="the licence of an installation that cannot reach Odoo"
    )
    licence_directory: Path | None = Field(
        default=None, description="where the licence and our API key are kept; unset: in memory"
    )
    licence_check_seconds: float = Field(
        default=3600, ge=60, le=86400, description="between questions to Odoo while it answers"
    )
    licence_time_zone: Annotated[str, Field(max_length=64), AfterValidator(_zone)] = Field(
        default="UTC", description="of the clinic, IANA name: when a working day ends"
    )
    licence_day_ends: dt.time = Field(
        default=dt.time(18), ge=EARLIEST_END, le=LATEST_END, description="the time of day there"
    )
    licence_working_days: frozenset[Annotated[int, Field(ge=1, le=7)]] = Field(
        default=frozenset({1, 2, 3, 4, 5}),
        min_length=1,
        description="JSON list: 1 is Monday, 7 Sunday",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.odoo_url is not None and self.licence_file is not None:
            raise ValueError("either ODOO_URL or LICENCE_FILE")
        if self.odoo_url is not None and self.odoo_api_key is None:
            raise ValueError("ODOO_URL needs ODOO_API_KEY")
        if (self.odoo_url or self.licence_file) and not self.licence_public_keys:
            raise ValueError("a licence cannot be checked without LICENCE_PUBLIC_KEYS")
        return self

    @property
    def working_days(self) -> WorkingDays:
        """When a deadline takes effect."""
        return WorkingDays(
            ZoneInfo(self.licence_time_zone),
            self.licence_day_ends.replace(tzinfo=None),
            self.licence_working_days,
        )
