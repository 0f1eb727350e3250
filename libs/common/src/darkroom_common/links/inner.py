"""TLS of what services say to each other: health and metrics, and what is handed over to ingest.

One certificate of a service and one authority of all: `TLS_CERTIFICATE`, `TLS_KEY`, `TLS_CA`. What
others call (DICOM, HTTPS) and what the engines show are settings of their own.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from darkroom_common.dimse.tls import BadCertificate, TlsClient, TlsFiles, TlsServer
from darkroom_common.errors import ConfigurationError
from darkroom_common.specs.destinations import Tls

INNER: Final = "inner"
"""What the metrics call the certificate of a service among the others."""
_CHECKED: Final = Tls(enabled=True, strict=False)


@dataclass(frozen=True)
class InnerTls:
    """The files of one service, PEM: read again whenever they change.

    Attributes:
        certificate: of this service, for the names that the others call it by.
        key: its private key.
        ca: authorities of the others' certificates.
    """

    certificate: Path
    key: Path
    ca: Path

    def server(self) -> TlsServer:
        """Return what a listener for the other services shows.

        Raises:
            ConfigurationError: a file cannot be used.
        """
        tls = TlsServer(TlsFiles(self.certificate, self.key, None, "ignored", "1.2"))
        if tls.context is None:
            raise ConfigurationError(f"TLS: {tls.trouble}")
        return tls

    def client(self) -> "InnerClient":
        """Return how the other services are called."""
        return InnerClient(TlsClient(self.ca, self.certificate, self.key, name=INNER))


@dataclass(frozen=True)
class InnerClient:
    """How another service is called: its certificate and name are checked."""

    files: TlsClient

    def context(self) -> ssl.SSLContext:
        """Return what the next connection is made with.

        Raises:
            ConfigurationError: a file cannot be used, and there is nothing older.
        """
        try:
            return self.files.context(_CHECKED)
        except BadCertificate as error:
            raise ConfigurationError(f"TLS: {error}") from error
