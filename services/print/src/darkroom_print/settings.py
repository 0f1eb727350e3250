"""What print can be told."""

import tempfile
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from darkroom_common.settings import SenderSettings


class PrintSettings(SenderSettings):
    """Settings of print."""

    store_url: str
    phi_keys: SecretStr
    scratch: Path = Field(
        default=Path(tempfile.gettempdir()), description="directory for films that are composed"
    )
    composing_processes: int = Field(default=2, ge=1, le=64)
    composing_memory: int = Field(
        default=2 << 30, ge=256 << 20, description="bytes of address space of each of them"
    )
    dicom_tls_ca: Path | None = Field(
        default=None, description="PEM file of authorities of printers; unset: the system's"
    )
    dicom_tls_certificate: Path | None = Field(
        default=None, description="PEM file, shown to printers that ask for a certificate"
    )
    dicom_tls_key: Path | None = None
    job_retention_days: int = Field(
        default=90,
        ge=0,
        le=36_500,
        description="for which jobs that were printed or cancelled are kept; 0: for ever",
    )

    @model_validator(mode="after")
    def check_tls(self) -> Self:
        """Refuse half of a certificate."""
        if (self.dicom_tls_certificate is None) is not (self.dicom_tls_key is None):
            raise ValueError("DICOM_TLS_CERTIFICATE and DICOM_TLS_KEY belong together")
        return self
