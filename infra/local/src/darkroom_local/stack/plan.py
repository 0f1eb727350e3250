"""The settings of each service in the stack of one machine. Nothing here does I/O but secrets."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from darkroom_common.settings import EVERY_INTERFACE
from darkroom_local.engines.ports import LOOPBACK
from darkroom_local.engines.process import Command
from darkroom_local.engines.tls import TlsPair
from darkroom_local.stack.authority import NODE, Authority
from darkroom_local.stack.keyring import Keyring
from darkroom_local.stack.layout import SERVICES, Layout, Settings
from darkroom_local.stack.listeners import Listeners, Ports

DRAIN_SECONDS: Final = 20

# Of our own environment children get these, and every DARKROOM_ setting that the plan leaves open.
_INHERITED: Final = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE")
_SECRETS: Final[Mapping[str, tuple[str, ...]]] = {
    "PHI_KEYS": ("ingest", "metadata", "api", "transmit", "print"),
    "BLIND_INDEX_KEY": ("ingest", "metadata", "api"),
    "PSEUDONYM_KEY": ("ingest", "api", "transmit"),
    "JWT_KEY": ("api",),
    "AUDIT_KEYS": ("api",),
}
_DICOM_TLS_PORT: Final = 2762
_API_PROCESSES: Final = 4
"""Of the api at most; there is one for each core."""
_NICE: Final = {"ingest": 0, "api": 2}
"""How far services stand back: a scanner never waits, and a reader before what nobody waits for."""
_NICE_OTHERS: Final = 5
_WITH_SCRATCH: Final = ("transmit", "print")


@dataclass(frozen=True)
class Plan:
    """How to start each service, with its own role, port and secrets."""

    settings: Settings
    layout: Layout
    keyring: Keyring
    superuser_url: str  # of the database `darkroom`
    amqp_urls: Mapping[str, str]  # one for each service
    health_ports: Mapping[str, int]
    stow_port: int = 0
    python: str = sys.executable
    """Of the release whose code it is."""
    listeners: Listeners | None = None
    """Hold the ports of the services."""

    @classmethod
    def of_running(cls, data: Path) -> "Plan":
        """Return the plan of the stack that runs in a data directory, for work beside it."""
        layout = Layout(data)
        keyring = Keyring(layout)
        return cls(
            settings=Settings(data),
            layout=layout,
            keyring=keyring,
            superuser_url=keyring.path("superuser-url").read_text(),
            amqp_urls={name: keyring.path(_amqp_file(name)).read_text() for name in SERVICES},
            health_ports={},
        )

    def health_url(self, service: str) -> str:
        """Return the base URL of a service's health server."""
        scheme = "http" if self.settings.tls is None else "https"
        return f"{scheme}://{LOOPBACK}:{self.health_ports[service]}"

    def service(self, name: str) -> Command:
        """Return the command that runs a service."""
        values = {
            "HEALTH_HOST": LOOPBACK,
            "HEALTH_PORT": str(self.health_ports[name]),
            "DRAIN_SECONDS": str(DRAIN_SECONDS),
            "TRACE_DIRECTORY": str(self.layout.traces),
            **self._store(),
            **self._tls(name),
        }
        files = self._secret_files(name)
        if name == "ingest":
            values |= self._spool() | {
                "DICOM_PORT": str(self.settings.dicom_port),
                "AE_TITLE": self.settings.ae_title,
                "STOW_HOST": LOOPBACK,
                "STOW_PORT": str(self.stow_port),
            }
            if open_to_all():
                values |= {"REQUIRE_CALLED_AE_TITLE": "false", "UNKNOWN_AE": "nearby"}
        if name == "transmit":
            values |= {
                "AE_TITLE": self.settings.ae_title,
                "INGEST_DICOM_PORT": str(self.settings.dicom_port),
                **self._tls_to_ingest(),
            }
            if self.settings.commitment_port:
                values["COMMITMENT_PORT"] = str(self.settings.commitment_port)
        if name == "licensing":
            values |= self._licence()
        if name in _WITH_SCRATCH and "DARKROOM_SCRATCH" not in os.environ:
            values["SCRATCH"] = str(self.layout.scratch)
        if name == "api":
            targets = {service: self.health_url(service) for service in SERVICES}
            values |= {
                "HTTP_HOST": self.settings.http_host,
                "HTTP_PORT": str(self.settings.http_port),
                "INGEST_STOW_HOST": LOOPBACK,
                "INGEST_STOW_PORT": str(self.stow_port),
                "METRICS_TARGETS": json.dumps(targets),
                "METRICS_TARGETS_PATH": str(self.layout.targets),
                "AUDIT_ANCHOR": str(self.layout.audit_anchor),
                "DOCTOR_FINDINGS": str(self.layout.findings),
                "LAST_DRILL": str(self.layout.drill),
                "FENCE": str(self.layout.fenced),
            }
            values["HTTP_PROCESSES"] = str(http_processes())
            if self.layout.admin_password.exists():  # whoever has read it may remove it
                files["ADMIN_PASSWORD"] = str(self.layout.admin_password)
        command = self._command(name, ["-m", f"darkroom_{name}"], values, files)
        return self._with_ports(replace(command, nice=_NICE.get(name, _NICE_OTHERS)))

    def _with_ports(self, command: Command) -> Command:
        """Return it with the sockets that are held for it."""
        if self.listeners is None:
            return command
        name = command.name
        told = {**command.environment, **self.listeners.of(name)}
        return replace(command, environment=told, files=self.listeners.files(name))

    def ports(self) -> Ports:
        """Return the addresses on which each service listens for others."""
        settings = self.settings
        dicom = host_of("DICOM")
        ingest = [(dicom, port) for port in dicom_ports(settings)]
        ingest.append((LOOPBACK, self.stow_port))
        if hl7 := os.environ.get("DARKROOM_HL7_PORT"):
            ingest.append((host_of("HL7"), int(hl7)))
        api = [(settings.http_host, settings.http_port)] * http_processes()
        transmit = [(host_of("COMMITMENT"), port) for port in [settings.commitment_port] if port]
        return {"ingest": tuple(ingest), "transmit": tuple(transmit), "api": tuple(api)}

    def _pair(self) -> TlsPair:
        return Authority(self.layout, ()).pair(NODE)

    def _tls(self, name: str) -> dict[str, str]:
        """Return what a service shows, to ours and to others; what was given goes before."""
        tls = self.settings.tls
        if tls is None:
            return {}
        pair = self._pair()
        certificate, key = str(pair.certificate), str(pair.key)
        values = {"TLS_CERTIFICATE": certificate, "TLS_KEY": key, "TLS_CA": str(pair.ca)}
        outer = {"api": "HTTP", "ingest": "DICOM"}.get(name)
        if outer is not None and f"DARKROOM_{outer}_TLS_CERTIFICATE" not in os.environ:
            values |= {f"{outer}_TLS_CERTIFICATE": certificate, f"{outer}_TLS_KEY": key}
        if name == "ingest":
            values |= {
                "DICOM_TLS_PORT": str(tls.dicom_port),
                "DICOM_PLAIN": json.dumps(tls.plain_dicom),
            }
        return values

    def _tls_to_ingest(self) -> dict[str, str]:
        """Return how transmit calls ingest: within TLS, unless we cannot know what it shows."""
        tls = self.settings.tls
        given = "DARKROOM_DICOM_TLS_CERTIFICATE" in os.environ
        if tls is None or (given and tls.plain_dicom):
            return {}
        return {"INGEST_DICOM_TLS": "true", "INGEST_DICOM_PORT": str(tls.dicom_port)}

    def senders(self, arguments: Sequence[str]) -> Command:
        """Return the command that shows or changes who may send."""
        values = self._store() | self._spool()
        words = ["-m", "darkroom_ingest", "ae", *arguments]
        return self._command("ae", words, values, self._secret_files("ingest"))

    def verification(self, arguments: Sequence[str]) -> Command:
        """Return the command that verifies; it tells JSON lines on its standard output."""
        words = ["-m", "darkroom_metadata", "verify", "--json", *arguments]
        return self._command("verify", words, self._store(), self._secret_files("metadata"))

    def reindexing(self, arguments: Sequence[str]) -> Command:
        """Return the command that reads objects again; it tells JSON lines."""
        words = ["-m", "darkroom_metadata", "reindex", "--json", *arguments]
        return self._command("reindex", words, self._store(), self._secret_files("metadata"))

    def conflicts(self, arguments: Sequence[str]) -> Command:
        """Return the command that looks after what disagrees with the index."""
        words = ["-m", "darkroom_metadata", "conflicts", *arguments]
        return self._command("conflicts", words, self._store(), self._secret_files("metadata"))

    def retention(self, arguments: Sequence[str]) -> Command:
        """Return the command that tells what retention lets go, and has a run done."""
        words = ["-m", "darkroom_metadata", "retention", *arguments]
        return self._command("retention", words, self._store(), self._secret_files("metadata"))

    def audit(self, arguments: Sequence[str]) -> Command:
        """Return the command that shows and verifies the audit log."""
        words = ["-m", "darkroom_api", "audit", *arguments]
        values = self._store() | {"AUDIT_ANCHOR": str(self.layout.audit_anchor)}
        return self._command("audit", words, values, self._secret_files("api"))

    def dead_letters(self, arguments: Sequence[str]) -> Command:
        """Return the command that shows, replays and discards dead letters."""
        words = ["-m", "darkroom_api", "dead-letters", *arguments]
        return self._command("dead-letters", words, self._store(), self._secret_files("api"))

    def database(self, arguments: Sequence[str]) -> Command:
        """Return the command that tells what PostgreSQL is busy with."""
        words = ["-m", "darkroom_api", "database", *arguments]
        return self._command("database", words, self._store(), self._secret_files("api"))

    def conformance(self, arguments: Sequence[str]) -> Command:
        """Return the command that writes the conformance statement."""
        words = ["-m", "darkroom_api", "conformance", *arguments]
        return self._command("conformance", words, self._store(), self._secret_files("api"))

    def jobs(self, arguments: Sequence[str]) -> Command:
        """Return the command that shows jobs of every kind."""
        words = ["-m", "darkroom_api", "jobs", *arguments]
        return self._command("jobs", words, self._store(), self._secret_files("api"))

    def migrating(self, arguments: Sequence[str]) -> Command:
        """Return the command that brings studies of earlier archives here."""
        words = ["-m", "darkroom_transmit", "migration", *arguments]
        values = self._store() | {"AE_TITLE": self.settings.ae_title}
        return self._command("migration", words, values, self._secret_files("transmit"))

    def masking(self, arguments: Sequence[str]) -> Command:
        """Return the command that makes the objects of a restored copy anonymous."""
        words = ["-m", "darkroom_transmit", "mask", *arguments]
        values = self._store() | {"SCRATCH": str(self.layout.scratch)}
        return self._command("mask", words, values, self._secret_files("transmit"))

    def rebuilding(self) -> Command:
        """Return the command that makes an empty index of what the store holds."""
        words = ["-m", "darkroom_metadata", "rebuild"]
        return self._command("rebuild", words, self._store(), self._secret_files("metadata"))

    def events(self, arguments: Sequence[str]) -> Command:
        """Return the command that shows what has happened, and what comes."""
        words = ["-m", "darkroom_api", "events", *arguments]
        return self._command("events", words, self._store(), self._secret_files("api"))

    def sign_in_link(self, arguments: Sequence[str]) -> Command:
        """Return the command that writes what opens the console once."""
        words = ["-m", "darkroom_api", "sign-in-link", *arguments]
        return self._command("sign-in-link", words, self._store(), self._secret_files("api"))

    def licence(self, arguments: Sequence[str]) -> Command:
        """Return the command that shows, checks and installs the licence."""
        words = ["-m", "darkroom_licensing", "licence", *arguments]
        return self._command("licence", words, self._licence(), self._secret_files("licensing"))

    def _licence(self) -> dict[str, str]:
        return {"LICENCE_DIRECTORY": str(self.layout.licence)}

    def quarantine(self, arguments: Sequence[str]) -> Command:
        """Return the command that looks after refused objects; ingest need not run."""
        words = ["-m", "darkroom_ingest", "quarantine", *arguments]
        values = self._store() | self._spool()
        return self._command("quarantine", words, values, self._secret_files("ingest"))

    def _store(self) -> dict[str, str]:
        return {"STORE_URL": self.settings.store_url or self.layout.objects.as_uri()}

    def _spool(self) -> dict[str, str]:
        return {"SPOOL": str(self.layout.spool)}

    def migration(self, phase: str = "all") -> Command:
        """Return the command that brings every schema up to date, or as far as `pre` goes."""
        files = {"MIGRATION_URL": self._url_file("darkroom_migrate")}
        return self._command("migrate", ["-m", "darkroom_local.stack.migrating", phase], {}, files)

    def definitions(self, path: Path) -> Command:
        """Return the command that writes what the broker has to know: users, rights, policies."""
        files = {"AMQP_PASSWORDS": str(self.keyring.path("amqp-passwords"))}
        words = ["-m", "darkroom_common.amqp.definitions", "render", str(path)]
        return self._command("migrate", words, {}, files)

    def bootstrap(self) -> Command:
        """Return the command that makes extensions, schemas and roles."""
        files = {
            "SUPERUSER_URL": str(self.keyring.write("superuser-url", self.superuser_url)),
            "ROLE_PASSWORDS": str(self.keyring.path("role-passwords")),
        }
        module = "darkroom_common.postgres.bootstrap"
        return self._command("migrate", ["-m", module], {}, files)

    def _command(
        self, log: str, arguments: list[str], values: dict[str, str], files: dict[str, str]
    ) -> Command:
        ours = {f"DARKROOM_{name}": value for name, value in values.items()}
        ours |= {f"DARKROOM_{name}_FILE": path for name, path in files.items()}
        return Command(
            name=log,
            arguments=[self.python, *arguments],
            directory=self.layout.data,
            log=self.layout.log(log),
            environment=environment(ours),
        )

    def _secret_files(self, name: str) -> dict[str, str]:
        files = {
            "POSTGRES_URL": self._url_file(f"darkroom_{name}"),
            "AMQP_URL": str(self.keyring.write(_amqp_file(name), self.amqp_urls[name])),
        }
        for setting, readers in _SECRETS.items():
            if name in readers:
                files[setting] = str(self.keyring.path(setting.lower().replace("_", "-")))
        return files

    def _url_file(self, role: str) -> str:
        parts = urlsplit(self.superuser_url)
        host = parts.netloc.rpartition("@")[2]
        password = quote(self.keyring.role_password(role), safe="")
        url = parts._replace(netloc=f"{role}:{password}@{host}").geturl()
        return str(self.keyring.write(f"postgres-url-{role}", url))


def host_of(name: str) -> str:
    """Return the address that a port is served on."""
    return os.environ.get(f"DARKROOM_{name}_HOST", EVERY_INTERFACE)


def dicom_ports(settings: Settings) -> list[int]:
    """Return the ports of DICOM: plain, and of TLS by us or with a certificate of others."""
    tls = settings.dicom_tls_port
    if tls is None and "DARKROOM_DICOM_TLS_CERTIFICATE" in os.environ:
        tls = int(os.environ.get("DARKROOM_DICOM_TLS_PORT", _DICOM_TLS_PORT))
    return [port for port in (settings.plain_dicom_port, tls) if port]


def http_processes() -> int:
    """Return in how many processes the api serves."""
    asked = os.environ.get("DARKROOM_HTTP_PROCESSES")
    return int(asked) if asked else min(_API_PROCESSES, os.cpu_count() or 1)


def _amqp_file(service: str) -> str:
    return f"amqp-url-{service}"


def open_to_all() -> bool:
    """Return whether any AE near us may send: so, unless DARKROOM_UNKNOWN_AE is set."""
    return "DARKROOM_UNKNOWN_AE" not in os.environ


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child: `ours`, over what it may have of this process's.

    A `DARKROOM_` setting is passed on unless `ours` sets it, as a value or as a file; those that
    hold the engines' credentials never are.
    """
    decided = {name.removesuffix("_FILE") for name in ours}
    decided |= {"DARKROOM_POSTGRES_URL", "DARKROOM_AMQP_URL", "DARKROOM_DATA"}
    decided |= {"DARKROOM_COMMITMENT_PORT"}  # 0 of it is the absence of the setting
    passed = {
        name: value
        for name, value in os.environ.items()
        if name in _INHERITED
        or name.startswith("AWS_")  # what says who we are to a store that speaks S3
        or (name.startswith("DARKROOM_") and name.removesuffix("_FILE") not in decided)
    }
    return {**passed, "PYTHONUNBUFFERED": "1", **ours}
