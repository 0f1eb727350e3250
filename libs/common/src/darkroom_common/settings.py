"""Settings from `DARKROOM_<NAME>`, or from a file that `DARKROOM_<NAME>_FILE` names.

A file is for secrets: its content is the value, one trailing line feed is dropped. Setting both
is an error, since one of them would be ignored without a word.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from darkroom_common.amqp.address import AmqpUrl
from darkroom_common.errors import ConfigurationError
from darkroom_common.links.inner import InnerTls
from darkroom_common.postgres.address import PostgresUrl
from darkroom_common.specs.retention import Retention, RetentionRule

EVERY_INTERFACE: Final = "0.0.0.0"  # noqa: S104 - in a container, who may connect is for the network to say
PREFIX = "DARKROOM_"


class FileSettingsSource(EnvSettingsSource):
    """Reads the value of a field from the file that `DARKROOM_<NAME>_FILE` names."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - the interface
        """Return (content, key, whether it has to be parsed as JSON) for one field."""
        variable = f"{PREFIX}{field_name.upper()}_FILE"
        name = os.environ.get(variable)
        if name is None:
            return None, field_name, False
        if f"{PREFIX}{field_name.upper()}" in os.environ:
            raise ConfigurationError(
                f"{variable} and {variable.removesuffix('_FILE')} are both set"
            )
        try:
            content = Path(name).read_text(encoding="utf-8")
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ConfigurationError(f"{variable}: cannot read {name}: {reason}") from error
        return content.removesuffix("\n"), field_name, False


class SettingsBase(BaseSettings):
    """Where settings come from."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    @classmethod
    def load(cls) -> Self:
        """Read the environment.

        Raises:
            ConfigurationError: names each setting that is missing or wrong, never its value.
        """
        try:
            return cls()
        except SettingsError as error:
            if isinstance(error.__cause__, ConfigurationError):
                raise error.__cause__ from None
            raise ConfigurationError(f"settings: {error}") from None  # names the field only
        except ValidationError as error:
            wrong = ", ".join(
                f"{PREFIX}{'.'.join(str(part) for part in item['loc']).upper()}: {item['msg']}"
                for item in error.errors(include_input=False, include_url=False)
            )
            raise ConfigurationError(f"settings: {wrong}") from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the interface
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the interface
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first (tests), then the environment, then files."""
        return init_settings, env_settings, FileSettingsSource(settings_cls)


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)]
"""In upper or lower case."""
LogFormat = Literal["json", "console"]


class Settings(SettingsBase):
    """What every service can be told. Services derive and add their own."""

    postgres_url: PostgresUrl = Field(description="postgresql://role:password@host:port/database")
    amqp_url: AmqpUrl = Field(description="amqp[s]://user:password@host:port/vhost[?cafile=...]")
    health_host: str = "127.0.0.1"
    health_port: int = Field(default=9090, ge=0, le=65535)
    log_level: LogLevel = "INFO"
    log_format: LogFormat = "json"
    security_log: Path | None = Field(
        default=None, description="file that security events are written to, beside the log"
    )
    tls_certificate: Path | None = Field(
        default=None,
        description="PEM file; with TLS_KEY and TLS_CA the services speak TLS with each other, and"
        " health and metrics are https",
    )
    tls_key: Path | None = None
    tls_ca: Path | None = Field(
        default=None, description="PEM file of authorities of the other services' certificates"
    )
    otlp_endpoint: str | None = Field(
        default=None, description="http://host:4318; unset: no export"
    )
    trace_directory: Path | None = Field(
        default=None, description="files that traces are written to, for `darkroom trace`"
    )
    ff_monitoring_enabled: bool = Field(default=True, description="/metrics is there")
    drain_seconds: float = Field(default=25.0, gt=0, description="time to finish work on SIGTERM")
    hand_over_seconds: float = Field(
        default=300.0,
        gt=0,
        description="for which associations and requests go on after SIGUSR2, which says that"
        " another process has taken over; then as on SIGTERM",
    )

    @model_validator(mode="after")
    def check_inner_tls(self) -> Self:
        """Refuse a part of what belongs together."""
        if len({self.tls_certificate is None, self.tls_key is None, self.tls_ca is None}) > 1:
            raise ValueError("TLS_CERTIFICATE, TLS_KEY and TLS_CA belong together")
        return self

    @property
    def inner_tls(self) -> InnerTls | None:
        """TLS with the other services; None without."""
        if self.tls_certificate is None or self.tls_key is None or self.tls_ca is None:
            return None
        return InnerTls(self.tls_certificate, self.tls_key, self.tls_ca)


class WorkerSettings(Settings):
    """What a service that runs jobs can be told beside that."""

    lease_seconds: float = Field(
        default=20, gt=0, description="until another process takes over the jobs of one that died"
    )
    replica: str = Field(
        default="",
        max_length=64,
        description="whose jobs this process takes back after a crash; empty: the host's name",
    )


class RetentionSettings(SettingsBase):
    """How long studies are kept at least: for whoever is asked to delete them, and who does."""

    retention_years: float = Field(
        default=7.0, ge=0, le=1000, description="a study is kept at least, from its date on"
    )
    retention_rules: tuple[RetentionRule, ...] = Field(
        default=(),
        description="JSON list of {modality, calling_ae_title, studies_from, studies_to,"
        " description, exam_status, age_from, age_below, from_age, years}: the first that fits"
        " holds in the place of RETENTION_YEARS",
    )

    @property
    def retention(self) -> Retention:
        """The rules."""
        return Retention(self.retention_years, self.retention_rules)


class MigrationSettings(SettingsBase):
    """What a migration run can be told."""

    migration_url: PostgresUrl = Field(description="URL of the role that owns the schemas")
    log_level: LogLevel = "INFO"
    log_format: LogFormat = "json"
