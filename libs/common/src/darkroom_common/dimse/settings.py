"""What a service can be told of how it works with other nodes."""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from darkroom_common.dimse.tls import TlsClient
from darkroom_common.settings import WorkerSettings


class SenderSettings(WorkerSettings):
    """What a service that works with other nodes can be told beside that."""

    echo_seconds: float = Field(
        default=300,
        ge=0,
        le=86_400,
        description="between two echoes to a destination or printer; 0: none are sent",
    )
    dicom_tls_ca: Path | None = Field(
        default=None,
        description="PEM file of authorities of destinations and printers; unset: the system's",
    )
    dicom_tls_certificate: Path | None = Field(
        default=None,
        description="PEM file, shown to nodes that ask for a certificate; or PKCS #12: .pfx, .p12",
    )
    dicom_tls_key: Path | None = Field(default=None, description="PEM file; none for PKCS #12")
    dicom_tls_password: SecretStr | None = Field(default=None, description="of the PKCS #12 file")

    @model_validator(mode="after")
    def check_tls(self) -> Self:
        """Refuse half of a certificate."""
        certificate, key = self.dicom_tls_certificate, self.dicom_tls_key
        is_pfx = certificate is not None and certificate.suffix.lower() in (".pfx", ".p12")
        if is_pfx:
            if key is not None:
                raise ValueError("DICOM_TLS_KEY is within the PKCS #12 file")
        elif (certificate is None) is not (key is None):
            raise ValueError("DICOM_TLS_CERTIFICATE and DICOM_TLS_KEY belong together")
        return self

    def tls_client(self, ca: Path | None = None) -> TlsClient:
        """Return how other nodes are called with TLS, against the authorities in a file of ours."""
        password = self.dicom_tls_password
        return TlsClient(
            ca or self.dicom_tls_ca,
            self.dicom_tls_certificate,
            self.dicom_tls_key,
            "" if password is None else password.get_secret_value(),
        )
