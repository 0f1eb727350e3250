"""What compose and the chart hand to a service, tried on the service's own settings class."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
from pydantic import SecretStr

from darkroom_api import own_jobs
from darkroom_api.dicomweb.retrieving import parsing
from darkroom_api.exports import making
from darkroom_api.settings import ApiSettings
from darkroom_api.validation import validating
from darkroom_common.amqp.definitions import ApplySettings, RenderSettings
from darkroom_common.amqp.permissions import USERS
from darkroom_common.links.trial import TrialSettings
from darkroom_common.postgres.bootstrap import ROLES, BootstrapSettings
from darkroom_common.postgres.pool import connections_at_most
from darkroom_common.settings import PREFIX, MigrationSettings, Settings, SettingsBase
from darkroom_ingest import wiring
from darkroom_ingest.settings import IngestSettings
from darkroom_licensing.settings import LicensingSettings
from darkroom_metadata.indexing import reading
from darkroom_metadata.settings import MetadataSettings
from darkroom_print.settings import PrintSettings
from darkroom_transmit.settings import TransmitSettings

ROOT: Final = Path(__file__).parents[2]
SETTINGS: Final[Mapping[str, type[Settings]]] = {
    "ingest": IngestSettings,
    "metadata": MetadataSettings,
    "transmit": TransmitSettings,
    "print": PrintSettings,
    "api": ApiSettings,
    "licensing": LicensingSettings,
}
SERVICES: Final = tuple(SETTINGS)
WITH_SCHEMA: Final = tuple(
    name
    for name in SERVICES
    if (ROOT / "services" / name / "src" / f"darkroom_{name}" / "migrations").is_dir()
)
_COMMANDS: Final[Mapping[tuple[str, ...], type[SettingsBase]]] = {
    ("migrate",): MigrationSettings,
    ("migrate", "pre"): MigrationSettings,
    ("migrate", "post"): MigrationSettings,
    ("-m", "darkroom_common.postgres.bootstrap"): BootstrapSettings,
    ("-m", "darkroom_common.amqp.definitions", "apply"): ApplySettings,
    ("-m", "darkroom_common.amqp.definitions", "render"): RenderSettings,
    ("-m", "darkroom_common.links.trial"): TrialSettings,
}
# What is not a password or a URL has to be of the right form.
_CONTENT: Final[Mapping[str, str]] = {
    "role_passwords": json.dumps(dict.fromkeys(ROLES, "secret")),
    "amqp_url": "amqps://a-user:a-secret@of-the-test/",
    "amqp_passwords": json.dumps(dict.fromkeys(USERS.values(), "secret")),
}

WITH_WORKERS: Final = ("metadata", "transmit", "print", "api")
LESS_THAN: Final = 4096 << 20
"""Bytes of memory of every container with the standard values."""
_OWN_MEMORY: Final = 512 << 20
"""Bytes of a service itself, beside its workers."""
MOST_CONNECTIONS: Final = 50
"""To PostgreSQL of all services with the standard values, one replica of each."""
_PREVIEWS: Final = 1 << 30
"""What print has beyond that: it draws previews of films in memory."""


def memory_needed(settings: SettingsBase) -> int:
    """Return the bytes that a service must be able to have, all of its workers at their limit."""
    match settings:
        case MetadataSettings():
            workers = reading.PROCESSES * reading.MEMORY
        case TransmitSettings():
            workers = settings.conversion_processes * settings.conversion_memory
        case PrintSettings():
            workers = _PREVIEWS + settings.composing_processes * settings.composing_memory
        case ApiSettings():
            workers = (
                settings.render_cache_bytes
                + validating.PROCESSES * (validating.MEMORY + settings.validate_limit)
                + settings.parse_processes * parsing.MEMORY
                + settings.render_processes * settings.render_memory
                + settings.exports_at_once * making.MEMORY
            )
        case _:
            raise AssertionError(type(settings))
    return _OWN_MEMORY + workers


def connections_needed(settings: Settings) -> int:
    """Return the connections to PostgreSQL that a service opens at most, all of its pools full."""
    match settings:
        case IngestSettings():
            own = connections_at_most(wiring.CONNECTIONS, planned=True)
            each = connections_at_most(settings.database_connections, planned=True, checked=False)
            return own + settings.processes * each
        case ApiSettings():
            each = connections_at_most(settings.database_connections, planned=True, unflushed=True)
            jobs = connections_at_most(own_jobs.CONNECTIONS, checked=False)
            return settings.http_processes * (each + jobs) + settings.exports_at_once
        case MetadataSettings() | TransmitSettings() | PrintSettings() | LicensingSettings():
            return connections_at_most(settings.database_connections)
        case _:
            raise AssertionError(type(settings))


def command_settings(words: list[str]) -> type[SettingsBase]:
    """Return the settings class of a one-shot command; words may go on with a path."""
    return next(_COMMANDS[tuple(words[:n])] for n in (3, 2, 1) if tuple(words[:n]) in _COMMANDS)


def is_secret(settings: type[SettingsBase], field: str) -> bool:
    """Whether a field must not stand in an environment."""
    return "SecretStr" in str(settings.model_fields[field].annotation) or (
        settings.model_fields[field].annotation is SecretStr
    )


def check_environment(
    settings: type[SettingsBase],
    environment: Mapping[str, str],
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> SettingsBase:
    """Load the settings from this environment, with a content of our own in each file.

    Fails when a name is unknown, a secret is a value, or anything required is missing or wrong.
    """
    for variable, value in environment.items():
        assert variable.startswith(PREFIX), variable
        name = variable.removeprefix(PREFIX)
        is_file = name.endswith("_FILE") and name.lower() not in settings.model_fields
        field = name.removesuffix("_FILE" if is_file else "").lower()
        assert field in settings.model_fields, f"{settings.__name__} has no {name}"
        if not is_file:
            assert not is_secret(settings, field), f"{name} is a secret in the environment"
            monkeypatch.setenv(variable, value)
            continue
        assert is_secret(settings, field), f"{name}: not a secret, so it needs no file"
        directory.mkdir(exist_ok=True)
        file = directory / field
        file.write_text(_CONTENT.get(field, "a-secret-of-the-test"))
        monkeypatch.setenv(variable, str(file))
    try:
        return settings.load()
    finally:
        for variable in environment:
            monkeypatch.delenv(variable)
