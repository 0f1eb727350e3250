"""What print can be told."""

import tempfile
from pathlib import Path

from pydantic import Field, SecretStr

from darkroom_common.dimse.settings import SenderSettings


class PrintSettings(SenderSettings):
    """Settings of print."""

    store_url: str
    phi_keys: SecretStr
    scratch: Path = Field(
        default=Path(tempfile.gettempdir()), description="directory for films that are composed"
    )
    database_connections: int = Field(
        default=10,
        ge=3,
        le=100,
        description="to PostgreSQL at a time; a check of health has one more",
    )
    composing_processes: int = Field(default=2, ge=1, le=64)
    composing_memory: int = Field(
        default=2 << 30, ge=256 << 20, description="bytes of address space of each of them"
    )
    job_retention_days: int = Field(
        default=90,
        ge=0,
        le=36_500,
        description="for which jobs that were printed or cancelled are kept; 0: for ever",
    )
