"""What a destination is, as REST and the broker carry it. Secrets travel beside it, sealed."""

import re
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field, StrictBool, StringConstraints, model_validator

from darkroom_common.messages.base import Uid
from darkroom_common.specs.base import ResourceSpec, Spec, TimeOfDay
from darkroom_common.specs.character_sets import CharacterSetName
from darkroom_common.specs.deidentification import parse_profile

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
ConfiguredAe = Annotated[
    str, StringConstraints(pattern=r"^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$")
]
"""1 to 16 printable characters without backslash, PS3.5 table 6.2-1."""
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._\-]{0,63}$")]
"""The name of a destination or of a rule: it is a part of paths and of labels of metrics."""
MOST_ASSOCIATIONS: Final = 64
_HOST: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9.\-:_]{0,252}$")


class Backoff(Spec):
    """When a job is tried again: `last + initial * multiplier ** attempt`, with jitter."""

    initial_seconds: float = Field(default=5.0, gt=0, le=86_400)
    multiplier: float = Field(default=2.0, ge=1, le=10)
    ceiling_seconds: float = Field(default=3600.0, gt=0, le=604_800)
    max_attempts: int = Field(default=20, ge=1, le=10_000)

    @model_validator(mode="after")
    def _ceiling_is_above(self) -> Self:
        if self.ceiling_seconds < self.initial_seconds:
            raise ValueError("ceiling_seconds is below initial_seconds")
        return self


class Window(Spec):
    """Days and hours in which is sent; `end` before `start` goes on over midnight."""

    days: tuple[Day, ...] = Field(default=(), description="of the start; none: every day")
    start: TimeOfDay
    end: TimeOfDay


class Tls(Spec):
    """DICOM over TLS, or what an https URL is checked against."""

    enabled: StrictBool = False
    ca: str = Field(
        default="",
        max_length=65_536,
        description="PEM of the authorities that its certificate must lead to; empty: those of"
        " DICOM_TLS_CA, or the system's",
    )
    strict: StrictBool = Field(
        default=True,
        description="its certificate and authorities follow RFC 5280 in all points; false takes an"
        " authority without key usage, for example",
    )
    server_name: str = Field(default="", max_length=253, description="empty: the host")
    minimum: Literal["1.2", "1.3"] = "1.2"
    client_certificate: StrictBool = Field(
        default=True, description="show the certificate of DICOM_TLS_CERTIFICATE when asked"
    )


class Commitment(Spec):
    """Storage commitment: whether the destination is asked to confirm what it keeps."""

    enabled: StrictBool = False
    timeout_seconds: float = Field(default=3600.0, ge=1, le=604_800)
    max_requests: int = Field(default=3, ge=1, le=100, description="before the job fails")


class StowAuth(Spec):
    """How to sign in to a DICOMweb server. The secret is write-only."""

    kind: Literal["none", "basic", "bearer"] = "none"
    username: str = Field(default="", max_length=255)


class DestinationSpec(ResourceSpec):
    """Where images are sent, and how."""

    kind: Literal["dimse", "stow"] = "dimse"
    ae_title: ConfiguredAe | None = Field(default=None, description="called AE title")
    calling_ae_title: ConfiguredAe = Field(default="DARKROOM", description="ours")
    host: str | None = None
    port: int | None = Field(default=None, ge=1, le=65_535)
    url: str | None = Field(
        default=None, max_length=1024, description="of the DICOMweb service: .../dicom-web"
    )
    auth: StowAuth = StowAuth()
    tls: Tls = Tls()
    transfer_syntaxes: tuple[Uid, ...] = Field(
        default=(), max_length=64, description="that it takes, the best first; none: as stored"
    )
    max_associations: int = Field(
        default=4,
        ge=1,
        le=MOST_ASSOCIATIONS,
        description="no more than POOL_SIZE, whatever it says",
    )
    echo: StrictBool = Field(
        default=True, description="ask it every ECHO_SECONDS whether it is there"
    )
    throttle_bytes_per_second: int | None = Field(default=None, ge=1024)
    windows: tuple[Window, ...] = Field(default=(), max_length=50, description="none: always")
    time_zone: str = Field(default="UTC", max_length=64, description="of the windows, IANA name")
    backoff: Backoff = Backoff()
    commitment: Commitment = Commitment()
    availability: StrictBool = Field(
        default=False,
        description="told by Instance Availability Notification (PS3.4 annex R) which images of"
        " each study are here",
    )
    deidentify: str = Field(
        default="",
        max_length=512,
        description="a profile of PS3.15 annex E: `basic`, with options after plus signs; empty:"
        " none",
    )
    character_set: CharacterSetName | None = Field(
        default=None,
        description="of what it is asked in words beyond ASCII, and of its answers where they do"
        " not say",
    )
    connect_seconds: float = Field(default=10.0, gt=0, le=300)
    answer_seconds: float = Field(
        default=60.0, gt=0, le=3600, description="without a byte while an answer is owed"
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.kind == "dimse":
            if self.ae_title is None or self.host is None or self.port is None:
                raise ValueError("a dimse destination needs ae_title, host and port")
            if not _HOST.match(self.host):
                raise ValueError("host is a name or an address")
        else:
            if self.availability:
                raise ValueError("availability is told by DIMSE")
            parts = urlsplit(self.url or "")
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("a stow destination needs an http or https url")
            if parts.username or parts.password or parts.query or parts.fragment:
                raise ValueError("url holds neither a login nor a query")
        if self.deidentify:
            options = parse_profile(self.deidentify)
            told = self.commitment.enabled or self.availability
            if told and "retain-uids" not in options:
                raise ValueError(
                    "commitment and availability are about the stored UIDs, which deidentify"
                    " replaces"
                )
        try:
            ZoneInfo(self.time_zone)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError("time_zone is not known") from error
        return self
