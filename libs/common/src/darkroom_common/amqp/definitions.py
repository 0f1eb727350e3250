"""What a broker is given from outside: its user, its virtual host and the policies.

    python -m darkroom_common.amqp.definitions render <file>
    python -m darkroom_common.amqp.definitions apply

`render` writes a definitions file for a broker that belongs to Darkroom alone (compose): the user
and the virtual host of `DARKROOM_AMQP_URL`, and the policies of `topology`. `apply` puts the
policies into a broker that has its users from elsewhere, by the management interface at
`DARKROOM_MANAGEMENT_URL`. Both may be repeated. Exchanges, queues and bindings are in neither: the
services declare them.
"""

import base64
import hashlib
import http.client
import json
import secrets
import ssl
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from pydantic import Field, SecretStr

from darkroom_common.errors import ConfigurationError, DarkroomError, DependencyUnavailable
from darkroom_common.output import complain
from darkroom_common.settings import LogFormat, LogLevel, SettingsBase
from darkroom_common.telemetry.logs import configure_logs, get_logger
from darkroom_common.topology import render_policies

log = get_logger(__name__)
TIMEOUT: Final = 10.0  # seconds, for one request


class RenderSettings(SettingsBase):
    """What `render` is told."""

    amqp_url: SecretStr = Field(description="amqp://user:password@host:port/vhost")
    log_level: LogLevel = "INFO"
    log_format: LogFormat = "json"


class ApplySettings(SettingsBase):
    """What `apply` is told."""

    management_url: SecretStr = Field(description="http[s]://user:password@host:port")
    vhost: str = Field(default="/", description="the virtual host that gets the policies")
    log_level: LogLevel = "INFO"
    log_format: LogFormat = "json"


def password_hash(password: str, salt: bytes | None = None) -> str:
    """Return RabbitMQ's salted SHA-256: base64 of four bytes of salt and the digest."""
    salt = secrets.token_bytes(4) if salt is None else salt
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def render_definitions(amqp_url: str) -> dict[str, Any]:
    """Return a definitions file for the broker that the URL names.

    Raises:
        ConfigurationError: the URL has no user or no password.
    """
    parts = urlsplit(amqp_url)
    if not parts.username or not parts.password:
        raise ConfigurationError("AMQP_URL has no user or no password")
    user, vhost = unquote(parts.username), unquote(parts.path.removeprefix("/")) or "/"
    return {
        "users": [
            {
                "name": user,
                "password_hash": password_hash(unquote(parts.password)),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": "",
            }
        ],
        "vhosts": [{"name": vhost}],
        "permissions": [
            {"user": user, "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*"}
        ],
        "policies": render_policies(vhost),
    }


def write_definitions(path: Path, definitions: dict[str, Any]) -> None:
    """Replace a file as a whole. The broker, another user, reads it; it holds a salted hash."""
    draft = path.with_name(f"{path.name}.new")
    draft.write_text(json.dumps(definitions, indent=1), encoding="utf-8")
    draft.chmod(0o644)
    draft.replace(path)
    log.info("definitions.rendered", policies=len(definitions["policies"]))


def apply_policies(management_url: str, vhost: str) -> int:
    """Put every policy and return how many there are.

    Raises:
        ConfigurationError: the URL is none, or the broker refuses the user or the policy.
        DependencyUnavailable: the broker is away.
    """
    parts = urlsplit(management_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError("MANAGEMENT_URL is not http[s]://user:password@host:port")
    connection = (
        http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT)
        if parts.scheme == "http"
        else http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=TIMEOUT, context=ssl.create_default_context()
        )
    )
    login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    headers = {
        "Authorization": f"Basic {base64.b64encode(login.encode()).decode()}",
        "Content-Type": "application/json",
    }
    policies = render_policies(vhost)
    try:
        for policy in policies:
            where = f"{quote(vhost, safe='')}/{quote(policy['name'], safe='')}"
            body = {key: policy[key] for key in ("pattern", "apply-to", "priority", "definition")}
            path = f"{parts.path.rstrip('/')}/api/policies/{where}"
            connection.request("PUT", path, json.dumps(body), headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status >= http.client.INTERNAL_SERVER_ERROR:
                raise DependencyUnavailable(f"RabbitMQ: policies are answered {answer.status}")
            if answer.status >= http.client.BAD_REQUEST:
                raise ConfigurationError(
                    f"RabbitMQ answers {answer.status} to policy {policy['name']}: the user needs"
                    f" the tag policymaker and access to virtual host {vhost}"
                )
    except (OSError, http.client.HTTPException) as error:
        raise DependencyUnavailable(f"RabbitMQ: {type(error).__name__}") from error
    finally:
        connection.close()
    log.info("policies.applied", policies=len(policies), vhost=vhost)
    return len(policies)


def main(arguments: list[str]) -> int:
    """Be the command; return the exit code."""
    try:
        match arguments:
            case ["render", path]:
                render = RenderSettings.load()
                configure_logs(service="broker", level=render.log_level, style=render.log_format)
                definitions = render_definitions(render.amqp_url.get_secret_value())
                write_definitions(Path(path), definitions)
            case ["apply"]:
                told = ApplySettings.load()
                configure_logs(service="broker", level=told.log_level, style=told.log_format)
                apply_policies(told.management_url.get_secret_value(), told.vhost)
            case _:
                complain("usage: definitions render <file> | apply")
                return 2
    except (DarkroomError, OSError) as error:
        complain(f"definitions: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
