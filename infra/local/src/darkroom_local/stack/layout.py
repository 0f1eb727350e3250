"""What `darkroom up` is told, and where everything of one installation lies."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from darkroom_local.engines.ports import LOOPBACK
from darkroom_local.engines.process import make_reachable

SERVICES: Final = ("ingest", "metadata", "transmit", "print", "api", "licensing")
SCHEMAS: Final[Mapping[str, str]] = {
    "ingest": "ingest",
    "metadata": "index",
    "transmit": "transmit",
    "print": "print",
    "api": "api",
    "licensing": "licensing",
}
"""Of each service that has one, in the order in which they refer to each other."""

_PRIVATE: Final = ("secrets", "objects", "spool", "scratch", "run", "logs")


COMMITMENT_PORT: Final = 11113


class SettingError(ValueError):
    """A setting of `darkroom up` that cannot be used; the text names it."""


@dataclass(frozen=True)
class LocalTls:
    """TLS on every link, with certificates of an authority of this machine's own.

    Attributes:
        dicom_port: of DICOM over TLS.
        plain_dicom: whether plain DICOM is there, too.
        names: that this machine is called by, beside its own.
    """

    dicom_port: int = 2762
    plain_dicom: bool = True
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """The table in docs/architecture.md; the URLs are secrets and None for the private engines.

    Attributes:
        http_host: the address that REST and DICOMweb listen on.
        commitment_port: where destinations report storage commitment; 0: nowhere, None:
            `COMMITMENT_PORT`, or another when that is in use.
        tls: None: the links of this machine are plain.
        store_url: of the object store; None: files below `data`.
    """

    data: Path
    dicom_port: int = 11112
    http_port: int = 8080
    commitment_port: int | None = None
    ae_title: str = "DARKROOM"
    http_host: str = LOOPBACK
    postgres_url: str | None = None
    amqp_url: str | None = None
    tls: LocalTls | None = None
    store_url: str | None = None

    @property
    def http_tls(self) -> bool:
        """Whether the HTTP port is https: with a certificate of ours, or one that was given."""
        return self.tls is not None or "DARKROOM_HTTP_TLS_CERTIFICATE" in os.environ

    @property
    def dicom_tls_port(self) -> int | None:
        """The port of DICOM over TLS; None without TLS of ours."""
        return None if self.tls is None else self.tls.dicom_port

    @property
    def plain_dicom_port(self) -> int | None:
        """The port of plain DICOM; None where there is none."""
        return None if self.tls is not None and not self.tls.plain_dicom else self.dicom_port

    def __post_init__(self) -> None:
        """Refuse what DICOM or TCP cannot express (PS3.5 6.2, VR AE)."""
        if not re.fullmatch(r"[ -\[\]-~]{1,16}", self.ae_title) or not self.ae_title.strip():
            raise SettingError("DARKROOM_AE_TITLE: 1 to 16 ASCII characters without backslash")
        names: dict[int, str] = {}
        for name, port in (
            ("DARKROOM_DICOM_PORT", self.dicom_port),
            ("DARKROOM_HTTP_PORT", self.http_port),
            ("DARKROOM_COMMITMENT_PORT", self.commitment_port),
            ("DARKROOM_DICOM_TLS_PORT", self.dicom_tls_port),
        ):
            if port and names.setdefault(port, name) != name:
                raise SettingError(f"{names[port]} and {name} are the same")

    @classmethod
    def load(
        cls, data: Path, dicom_port: int, http_port: int, commitment_port: int | None, ae_title: str
    ) -> Self:
        """Add what the environment says, or the files that `..._FILE` names."""
        return cls(
            data=data.expanduser().resolve(),
            dicom_port=dicom_port,
            http_port=http_port,
            commitment_port=commitment_port,
            ae_title=ae_title,
            http_host=os.environ.get("DARKROOM_HTTP_HOST", LOOPBACK),
            postgres_url=_secret("DARKROOM_POSTGRES_URL"),
            amqp_url=_secret("DARKROOM_AMQP_URL"),
            store_url=os.environ.get("DARKROOM_STORE_URL"),
        )


def default_data() -> Path:
    """Return the data directory; as root one that the user of PostgreSQL can reach."""
    if os.geteuid() == 0:
        return Path("/var/lib/darkroom")
    return Path("~/.local/share/darkroom").expanduser()


@dataclass(frozen=True)
class Layout:
    """The directories and files under the data directory."""

    data: Path

    def make(self) -> None:
        """Make the directories, closed to other users but for the way to the engines."""
        make_reachable(self.data)
        for name in _PRIVATE:
            (self.data / name).mkdir(mode=0o700, exist_ok=True)

    @property
    def postgres(self) -> Path:
        """The private PostgreSQL."""
        return self.data / "postgres"

    @property
    def rabbitmq(self) -> Path:
        """The private RabbitMQ."""
        return self.data / "rabbitmq"

    @property
    def secrets(self) -> Path:
        """Keys, passwords and URLs, one file each."""
        return self.data / "secrets"

    @property
    def objects(self) -> Path:
        """The object store."""
        return self.data / "objects"

    @property
    def spool(self) -> Path:
        """What has been received and is not yet in the object store."""
        return self.data / "spool"

    @property
    def traces(self) -> Path:
        """What `darkroom trace` shows."""
        return self.data / "traces"

    @property
    def scratch(self) -> Path:
        """What is made to be sent or printed, for so long."""
        return self.data / "scratch"

    @property
    def admin_password(self) -> Path:
        """The password of the first administrator."""
        return self.data / "admin-password"

    @property
    def audit_anchor(self) -> Path:
        """The end of the audit log's chain, kept outside of the database."""
        return self.data / "audit-anchor"

    @property
    def drill(self) -> Path:
        """What the last drill has found."""
        return self.data / "drill.json"

    @property
    def fenced(self) -> Path:
        """Says that another site works in the place of this one."""
        return self.data / "fenced.json"

    @property
    def restored(self) -> Path:
        """Says that this is a restored copy which was never started: only such is masked."""
        return self.data / "restored.json"

    @property
    def masked(self) -> Path:
        """What masking has left out, of a copy that was masked."""
        return self.data / "masked.json"

    @property
    def findings(self) -> Path:
        """What `darkroom doctor` has found at the start, for the console."""
        return self.data / "run" / "findings.json"

    @property
    def licence(self) -> Path:
        """The licence, as it was signed, and our API key of Odoo."""
        return self.data / "licence"

    @property
    def tls(self) -> Path:
        """Certificates, and the authority that others have to trust."""
        return self.data / "tls"

    @property
    def ports(self) -> Path:
        """The ports of the last start."""
        return self.data / "run" / "ports.json"

    @property
    def state(self) -> Path:
        """What runs, for `darkroom status`."""
        return self.data / "run" / "state.json"

    @property
    def targets(self) -> Path:
        """Where each service shows its metrics, as JSON: a new process has another port."""
        return self.data / "run" / "targets.json"

    @property
    def control(self) -> Path:
        """The socket on which `darkroom roll` asks `darkroom up`."""
        return self.data / "run" / "control"

    def log(self, name: str) -> Path:
        """Return the log of one process."""
        return self.data / "logs" / f"{name}.log"


def _secret(name: str) -> str | None:
    value, file = os.environ.get(name), os.environ.get(f"{name}_FILE")
    if value and file:
        raise SettingError(f"{name} and {name}_FILE are both set")
    if file:
        try:
            return Path(file).read_text().strip()
        except OSError as error:
            raise SettingError(f"{name}_FILE: cannot read {file}: {error.strerror}") from error
    return value or None
