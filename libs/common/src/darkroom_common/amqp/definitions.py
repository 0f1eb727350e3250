"""What a broker is given from outside: its users, its virtual host and the policies.

    python -m darkroom_common.amqp.definitions render <file>
    python -m darkroom_common.amqp.definitions apply

`render` writes a definitions file for a broker that belongs to Darkroom alone (compose): the
virtual host, a user for each service with the passwords of `DARKROOM_AMQP_PASSWORDS`, what each
may do (see `permissions`), and the policies of `topology`. `apply` puts the policies into a broker
by the management interface at `DARKROOM_MANAGEMENT_URL`, and the users, too, when it is given
their passwords. Both may be repeated. Exchanges, queues and bindings are in neither: the services
declare them.
"""

import base64
import hashlib
import http.client
import json
import secrets
import ssl
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from pydantic import Field, SecretStr

from darkroom_common.amqp.permissions import USERS, render_permissions, render_topic_permissions
from darkroom_common.errors import ConfigurationError, DarkroomError, DependencyUnavailable
from darkroom_common.output import complain
from darkroom_common.settings import LogFormat, LogLevel, SettingsBase
from darkroom_common.telemetry.logs import configure_logs, get_logger
from darkroom_common.topology import render_policies

log = get_logger(__name__)
TIMEOUT: Final = 10.0  # seconds, for one request


class RenderSettings(SettingsBase):
    """What `render` is told."""

    amqp_passwords: dict[str, SecretStr] = Field(description="JSON object, user to password")
    vhost: str = Field(default="/", description="the virtual host that everything is in")
    log_level: LogLevel = "INFO"
    log_format: LogFormat = "json"


class ApplySettings(SettingsBase):
    """What `apply` is told."""

    management_url: SecretStr = Field(description="http[s]://user:password@host:port")
    management_ca: Path | None = Field(
        default=None, description="PEM file of authorities of its certificate; unset: the system's"
    )
    amqp_passwords: dict[str, SecretStr] = Field(
        default={}, description="JSON object, user to password; empty: users are made elsewhere"
    )
    vhost: str = Field(default="/", description="the virtual host that gets the policies")
    log_level: LogLevel = "INFO"
    log_format: LogFormat = "json"


def password_hash(password: str, salt: bytes | None = None) -> str:
    """Return RabbitMQ's salted SHA-256: base64 of four bytes of salt and the digest."""
    salt = secrets.token_bytes(4) if salt is None else salt
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def render_definitions(
    passwords: Mapping[str, str], vhost: str = "/", *, policies: bool = True
) -> dict[str, Any]:
    """Return a definitions file for a broker of ours.

    Args:
        passwords: of every user of `permissions.USERS`.
        vhost: the virtual host.
        policies: whether the policies are in it.

    Raises:
        ConfigurationError: a user has no password.
    """
    if missing := [user for user in USERS.values() if not passwords.get(user)]:
        raise ConfigurationError(f"AMQP_PASSWORDS lacks {', '.join(missing)}")
    return {
        "users": [user_definition(user, passwords[user]) for user in USERS.values()],
        "vhosts": [{"name": vhost}],
        "permissions": render_permissions(vhost),
        "topic_permissions": render_topic_permissions(vhost),
        "policies": render_policies(vhost) if policies else [],
    }


def user_definition(name: str, password: str, tag: str = "") -> dict[str, str]:
    """Return a user in the form of RabbitMQ's definitions file."""
    return {
        "name": name,
        "password_hash": password_hash(password),
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": tag,
    }


def write_definitions(path: Path, definitions: dict[str, Any]) -> None:
    """Replace a file as a whole. The broker, another user, reads it; it holds salted hashes."""
    draft = path.with_name(f"{path.name}.new")
    draft.write_text(json.dumps(definitions, indent=1), encoding="utf-8")
    draft.chmod(0o644)
    draft.replace(path)
    log.info("definitions.rendered", policies=len(definitions["policies"]))


class Management:
    """RabbitMQ's management interface.

    Raises:
        ConfigurationError: the URL is none.
    """

    def __init__(self, url: str, ca: Path | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError("MANAGEMENT_URL is not http[s]://user:password@host:port")
        self._connection = (
            http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT)
            if parts.scheme == "http"
            else http.client.HTTPSConnection(
                parts.hostname,
                parts.port,
                timeout=TIMEOUT,
                context=ssl.create_default_context(cafile=ca),
            )
        )
        self._path = f"{parts.path.rstrip('/')}/api"
        login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        self._headers = {
            "Authorization": f"Basic {base64.b64encode(login.encode()).decode()}",
            "Content-Type": "application/json",
        }

    def put(self, kind: str, *names: str, needs: str, body: Mapping[str, Any]) -> None:
        """Make or replace something.

        Args:
            kind: of the resource, such as `policies`.
            names: that lead to it.
            needs: what the login must have, for whom it is refused.
            body: what it is.

        Raises:
            ConfigurationError: the broker refuses the login or the body.
            DependencyUnavailable: the broker is away.
        """
        path = "/".join((self._path, kind, *(quote(name, safe="") for name in names)))
        try:
            self._connection.request("PUT", path, json.dumps(body), self._headers)
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise DependencyUnavailable(f"RabbitMQ: {type(error).__name__}") from error
        if answer.status >= http.client.INTERNAL_SERVER_ERROR:
            raise DependencyUnavailable(f"RabbitMQ: {kind} are answered {answer.status}")
        if answer.status >= http.client.BAD_REQUEST:
            raise ConfigurationError(
                f"RabbitMQ answers {answer.status} to {kind} {names[-1]}: the user needs {needs}"
            )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def apply_policies(management: Management, vhost: str) -> int:
    """Put every policy and return how many there are.

    Raises:
        ConfigurationError: the broker refuses the user or the policy.
        DependencyUnavailable: the broker is away.
    """
    policies = render_policies(vhost)
    for policy in policies:
        body = {key: policy[key] for key in ("pattern", "apply-to", "priority", "definition")}
        needs = f"the tag policymaker and access to virtual host {vhost}"
        management.put("policies", vhost, policy["name"], needs=needs, body=body)
    log.info("policies.applied", policies=len(policies), vhost=vhost)
    return len(policies)


def apply_users(management: Management, vhost: str, passwords: Mapping[str, str]) -> int:
    """Put every user with what it may do, and return how many there are.

    Raises:
        ConfigurationError: a user has no password, or the broker refuses the login.
        DependencyUnavailable: the broker is away.
    """
    told = render_definitions(passwords, vhost, policies=False)
    needs = "the tag administrator"
    for user in told["users"]:
        management.put("users", user.pop("name"), needs=needs, body=user)
    for kind in ("permissions", "topic_permissions"):
        for one in told[kind]:
            where, who = one.pop("vhost"), one.pop("user")
            path = kind.replace("_", "-")
            management.put(path, where, who, needs=needs, body=one)
    log.info("users.applied", users=len(USERS), vhost=vhost)
    return len(USERS)


def _plain(passwords: Mapping[str, SecretStr]) -> dict[str, str]:
    return {user: password.get_secret_value() for user, password in passwords.items()}


def main(arguments: list[str]) -> int:
    """Be the command; return the exit code."""
    try:
        match arguments:
            case ["render", path]:
                render = RenderSettings.load()
                configure_logs(service="broker", level=render.log_level, style=render.log_format)
                definitions = render_definitions(_plain(render.amqp_passwords), render.vhost)
                write_definitions(Path(path), definitions)
            case ["apply"]:
                told = ApplySettings.load()
                configure_logs(service="broker", level=told.log_level, style=told.log_format)
                management = Management(told.management_url.get_secret_value(), told.management_ca)
                with closing(management):
                    if told.amqp_passwords:
                        apply_users(management, told.vhost, _plain(told.amqp_passwords))
                    apply_policies(management, told.vhost)
            case _:
                complain("usage: definitions render <file> | apply")
                return 2
    except (DarkroomError, OSError) as error:
        complain(f"definitions: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
