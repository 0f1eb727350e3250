"""What the api can be told."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from darkroom_api.mail.address import Security, is_address
from darkroom_common.dimse.tls import TlsFiles
from darkroom_common.settings import EVERY_INTERFACE, RetentionSettings, WorkerSettings
from darkroom_common.uids import LONGEST_ROOT, root_of_one_s_own

HostName = Annotated[
    str, Field(pattern=r"^((\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\])$")
]
Origin = Annotated[str, Field(pattern=r"^https?://[a-z0-9._-]+(:[0-9]{1,5})?$")]
Rate = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,14}/(second|minute|hour|day)$")]


def _address(text: str) -> str:
    if not is_address(text):
        raise ValueError("it is no e-mail address")
    return text


MailAddress = Annotated[str, AfterValidator(_address)]
UidRoot = Annotated[
    str,
    Field(max_length=LONGEST_ROOT, pattern=r"^[0-2](\.(0|[1-9][0-9]*))+$"),
    AfterValidator(root_of_one_s_own),
]


class ApiSettings(WorkerSettings, RetentionSettings):
    """Settings of the api."""

    http_host: str = EVERY_INTERFACE
    http_port: int = Field(default=8080, ge=0, le=65535)
    http_tls_certificate: Path | None = Field(
        default=None, description="PEM file: HTTPS instead of HTTP; unset: a proxy has it"
    )
    http_tls_key: Path | None = Field(default=None, description="PEM file with the key of that")
    http_tls_minimum: Literal["1.2", "1.3"] = "1.2"
    tls_strict: bool = Field(
        default=True,
        description="certificates of the provider of OpenID Connect, of mail server, audit"
        " repository and callbacks follow RFC 5280 in all points",
    )
    http_processes: int = Field(
        default=1,
        ge=1,
        le=64,
        description="replicas behind the one port, each with its share of what is limited at a"
        " time; `darkroom up` has one a core, up to 4",
    )
    http_connections: int = Field(default=512, ge=16, le=16_384, description="at a time")
    http_connections_per_address: int = Field(
        default=128, ge=8, description="at a time, but of trusted proxies"
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(),
        description="JSON list of networks whose X-Forwarded-For says who asks; anybody else's is"
        " ignored",
    )
    allowed_hosts: tuple[HostName, ...] = Field(
        default=(),
        description="JSON list of names that may stand in Host, without port; `*.` in front stands"
        " for any labels; empty: every name",
    )
    cors_origins: tuple[Origin, ...] = Field(
        default=(), description="JSON list of origins whose pages may ask, with credentials"
    )
    public_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/\s]+$",
        description="scheme://host[:port] in the URLs of answers; unset: as the client asked",
    )
    doctor_findings: Path | None = Field(
        default=None,
        description="file with what `darkroom doctor` has found on this machine, for the console;"
        " `darkroom up` writes it",
    )
    last_drill: Path | None = Field(
        default=None,
        description="file with what the last `darkroom drill` has found, for the console;"
        " `darkroom up` names that of its data",
    )
    fence: Path | None = Field(
        default=None,
        description="file that says that another site works in the place of this one: then nothing"
        " is changed here; `darkroom up` names that of its data, `darkroom ship` writes it",
    )
    environment: str = Field(
        default="",
        max_length=40,
        pattern=r"^[^\x00-\x1f]*$",
        description="a name such as `training` that stands as a bar on every page of the console",
    )
    store_url: str
    exports_url: str | None = Field(
        default=None,
        description="where the files of exports are, in the form of STORE_URL; every replica needs"
        " the same; unset: `.exports` in the object store",
    )
    exports_at_once: int = Field(
        default=10, ge=1, le=100, description="over all replicas; further ones wait"
    )
    phi_keys: SecretStr
    blind_index_key: SecretStr
    pseudonym_key: SecretStr = Field(description="that of ingest, which knows the api by it")
    jwt_key: SecretStr
    jwt_algorithm: Literal["HS256", "EdDSA"] = Field(
        default="HS256", description="of access tokens; those of the other one end with a change"
    )
    audit_keys: SecretStr
    audit_anchor: Path | None = Field(
        default=None,
        description="file outside of the database that keeps the end of the audit log's chain",
    )
    atna_repository: str | None = Field(
        default=None,
        pattern=r"^[^:/\s]+:[0-9]{1,5}$",
        description="host:port of an audit record repository: syslog over TLS",
    )
    atna_ca: Path | None = Field(
        default=None, description="file with the authority of its certificate; unset: the system's"
    )
    atna_certificate: Path | None = Field(
        default=None, description="file with our certificate, for a repository that asks for one"
    )
    atna_key: Path | None = Field(default=None, description="file with the key of that")
    atna_source: str = Field(
        default="darkroom", min_length=1, max_length=48, description="our name there"
    )
    audit_retention_days: int = Field(
        default=2190, ge=365, description="of rows of the audit log; 2190 are six years"
    )
    admin_password: SecretStr | None = Field(
        default=None,
        min_length=12,
        description="of `admin`, the first administrator; needed until there is one",
    )
    oidc_issuer: str | None = Field(
        default=None,
        pattern=r"^(https://[^\s?#]+|http://(localhost|127\.0\.0\.1)(:\d+)?[^\s?#]*)$",
        description="of OpenID Connect, as its tokens say it; unset: people sign in here alone",
    )
    oidc_client_id: str | None = Field(default=None, description="of Darkroom at the provider")
    oidc_client_secret: SecretStr | None = Field(
        default=None, description="the same; unset: a public client, by PKCE alone"
    )
    oidc_ca: Path | None = Field(
        default=None, description="PEM file of authorities of its certificate; unset: the system's"
    )
    oidc_scopes: str = Field(default="openid profile email", pattern=r"^openid( \S+)*$")
    oidc_groups_claim: str = "groups"
    oidc_username_claim: str = "preferred_username"
    oidc_roles: dict[str, str] = Field(
        default_factory=dict,
        description="JSON, group at the provider to role here; who is in none has no access",
    )
    open_docs: bool = Field(default=True, description="/docs and /openapi.json without a login")
    uid_root: UidRoot | None = Field(
        default=None,
        description="root of the organisation's UIDs, for objects that are made here; unset: 2.25",
    )
    dose_report_minutes: int | None = Field(
        default=None,
        ge=0,
        le=1440,
        description="after a performed procedure step (MPPS) has ended, a dose report is made of"
        " what it has told, unless the study has one by then; unset: never",
    )
    validate_limit: int = Field(
        default=64 << 20,
        ge=1 << 16,
        le=256 << 20,
        description="bytes of an object that is uploaded to be validated",
    )
    ingest_stow_host: str = Field(
        default="127.0.0.1", min_length=1, description="where ingest takes what comes by STOW-RS"
    )
    ingest_stow_port: int = Field(default=11180, ge=1, le=65535)
    stow_limit: int = Field(
        default=64 << 30, ge=1 << 20, description="bytes of the body of one STOW-RS request"
    )
    metrics_targets: dict[str, str] = Field(
        default_factory=dict,
        description="JSON, service to base URL: /metrics/<service> passes its metrics on",
    )
    metrics_targets_path: Path | None = Field(
        default=None,
        description="file of the same JSON, read for each request: of services that move",
    )
    metrics_token: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="with it /metrics/<service> answers others than this machine: as Bearer token",
    )
    search_limit: int = Field(default=1000, ge=1, description="results of one search at most")
    instance_search_limit: int = Field(default=10_000, ge=1, description="the same for instances")
    render_processes: int = Field(
        default=2, ge=1, le=64, description="that decode and render at a time"
    )
    render_memory: int = Field(
        default=2 << 30, ge=256 << 20, description="bytes of address space of each of them"
    )
    parse_processes: int = Field(
        default=3, ge=1, le=64, description="that find frames and values in objects at a time"
    )
    render_cache_bytes: int = Field(
        default=64 << 20, ge=0, description="of rendered images that are kept in memory"
    )
    development: bool = Field(
        default=False, description="lets the next three be off; never with data of patients"
    )
    ff_auth_enabled: bool = Field(
        default=True, description="off: whoever asks is the first administrator"
    )
    ff_rbac_enabled: bool = Field(
        default=True, description="off: whoever is signed in may do everything"
    )
    ff_audit_enabled: bool = Field(default=True, description="off: what requests do is not kept")
    ff_export_enabled: bool = Field(default=True, description="off: no exports")
    limit_default: Rate = Field(default="1000/hour", description="requests of a user")
    limit_exports: Rate = Field(default="10/hour", description="exports that a user asks for")
    limit_bulk: Rate = Field(default="100/hour", description="bulk changes of a user")
    limit_anonymous: Rate = Field(
        default="100/hour", description="requests from an address without a valid token"
    )
    limit_login: Rate = Field(
        default="5/minute", description="failures to sign in from an address, whatever the names"
    )
    limit_dicomweb_bytes: Rate = Field(
        default="1000000000000/hour", description="bytes of DICOMweb to and from a user"
    )
    limit_at_once: int = Field(
        default=100,
        ge=1,
        description="requests of a user at a time to a replica, DICOMweb and polling of jobs apart",
    )
    database_connections: int = Field(
        default=10,
        ge=2,
        le=100,
        description="to PostgreSQL at a time, and half as many for searches; two more for checks of"
        " health and notes of who has read, four for jobs, one for each export that is made",
    )
    smtp_host: str | None = Field(
        default=None, min_length=1, description="the mail server; unset: no e-mail is sent"
    )
    smtp_port: int = Field(default=587, ge=1, le=65535)
    smtp_security: Security = Field(
        default="starttls", description="starttls; tls from the first byte; or none"
    )
    smtp_ca: Path | None = Field(
        default=None, description="PEM file of authorities of its certificate; unset: the system's"
    )
    smtp_username: str = ""
    smtp_password: SecretStr | None = None
    mail_from: MailAddress | None = Field(
        default=None, description="the address that e-mail comes from; needed with SMTP_HOST"
    )
    mail_operators: tuple[MailAddress, ...] = Field(
        default=(), description="JSON list of who hears of jobs that have failed"
    )
    mail_physicians: MailAddress | None = Field(
        default=None, description="who hears of what was assigned to somebody without an account"
    )
    callback_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(),
        description="JSON list of networks that callbacks may go to beside public addresses",
    )
    callback_http: bool = Field(
        default=False, description="lets callbacks go by http, which nobody can keep to themselves"
    )
    callback_ca: Path | None = Field(
        default=None,
        description="PEM file of authorities of receivers' certificates; unset: the system's",
    )
    event_log_hours: int = Field(
        default=168, ge=24, le=8760, description="how long events and their deliveries are kept"
    )
    event_listeners: int = Field(
        default=100, ge=1, le=10_000, description="of the event stream at a time, to a process"
    )
    event_listeners_of_a_user: int = Field(
        default=10, ge=1, le=1000, description="the same of one user"
    )

    @model_validator(mode="after")
    def _whole_certificate(self) -> Self:
        if (self.http_tls_certificate is None) is not (self.http_tls_key is None):
            raise ValueError("HTTP_TLS_CERTIFICATE and HTTP_TLS_KEY belong together")
        return self

    @property
    def http_tls(self) -> TlsFiles | None:
        """What HTTPS needs, if it is on."""
        if self.http_tls_certificate is None or self.http_tls_key is None:
            return None
        return TlsFiles(
            certificate=self.http_tls_certificate,
            key=self.http_tls_key,
            client_ca=None,
            clients="ignored",
            minimum=self.http_tls_minimum,
        )

    @model_validator(mode="after")
    def _sends_as_somebody(self) -> Self:
        if self.smtp_host is not None and self.mail_from is None:
            raise ValueError("SMTP_HOST needs MAIL_FROM")
        if self.smtp_username and (self.smtp_password is None or self.smtp_security == "none"):
            raise ValueError("SMTP_USERNAME needs SMTP_PASSWORD, and TLS")
        return self

    @model_validator(mode="after")
    def _provider_knows_us(self) -> Self:
        if self.oidc_issuer is not None and not (self.oidc_client_id and self.oidc_roles):
            raise ValueError("OIDC_ISSUER needs OIDC_CLIENT_ID and OIDC_ROLES")
        return self

    @model_validator(mode="after")
    def _protected(self) -> Self:
        off = not (self.ff_auth_enabled and self.ff_rbac_enabled and self.ff_audit_enabled)
        if off and not self.development:
            raise ValueError(
                "FF_AUTH_ENABLED, FF_RBAC_ENABLED and FF_AUDIT_ENABLED can be off with DEVELOPMENT"
                " alone"
            )
        return self
