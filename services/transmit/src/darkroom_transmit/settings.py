"""What transmit can be told."""

import tempfile
from pathlib import Path

from pydantic import Field, SecretStr

from darkroom_common.dimse.settings import SenderSettings
from darkroom_common.settings import EVERY_INTERFACE
from darkroom_common.specs.destinations import MOST_ASSOCIATIONS
from darkroom_transmit.sending.pool import ACQUIRE_SECONDS, IDLE_SECONDS, LIMIT


class TransmitSettings(SenderSettings):
    """Settings of transmit."""

    store_url: str
    phi_keys: SecretStr
    pseudonym_key: SecretStr
    scratch: Path = Field(
        default=Path(tempfile.gettempdir()),
        description="directory for objects that are made over while they are sent",
    )
    conversion_processes: int = Field(default=2, ge=1, le=64)
    conversion_memory: int = Field(
        default=2 << 30, ge=256 << 20, description="bytes of address space of each of them"
    )
    destinations_file: Path | None = Field(
        default=None, description="JSON of destinations and rules to have, read at the start"
    )
    pool_size: int = Field(
        default=LIMIT,
        ge=1,
        le=MOST_ASSOCIATIONS,
        description="associations to one node, in each transfer syntax, that a process has at most",
    )
    pool_idle_seconds: float = Field(default=IDLE_SECONDS, gt=0)
    pool_acquire_seconds: float = Field(default=ACQUIRE_SECONDS, gt=0)
    commitment_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="where destinations report storage commitment on associations of their own",
    )
    commitment_host: str = EVERY_INTERFACE
    commitment_wait_seconds: float = Field(
        default=5, ge=0, le=300, description="for a report on the association that has asked"
    )
    commitment_settle_seconds: float = Field(
        default=60,
        ge=0,
        le=86_400,
        description="in which what a node asks commitment for may still become known",
    )
    commitment_report_seconds: float = Field(
        default=259_200,
        gt=0,
        description="for which a node that has asked for commitment is tried to be told",
    )
    ae_title: str = Field(
        default="DARKROOM", min_length=1, max_length=16, description="of ingest: where C-MOVE sends"
    )
    ingest_dicom_host: str = Field(
        default="127.0.0.1", description="where ingest takes the objects of C-GET"
    )
    ingest_dicom_port: int = Field(default=11112, ge=1, le=65535)
    ingest_dicom_tls: bool = Field(
        default=False,
        description="that port is ingest's of DICOM over TLS: its certificate is checked",
    )
    ingest_dicom_ca: Path | None = Field(
        default=None, description="PEM file of authorities of its certificate; unset: TLS_CA"
    )
    ingest_dicom_name: str = Field(
        default="",
        max_length=253,
        description="whom that certificate must name; empty: INGEST_DICOM_HOST",
    )
    ingest_calling_ae_title: str = Field(
        default="", max_length=16, description="of C-GET's objects; empty: that of their source"
    )
    migration_directory: Path | None = Field(
        default=None,
        description="below which files of earlier archives may be read; unset: none are",
    )
    retrieve_silence_seconds: float = Field(
        default=600, gt=0, description="that a node may be busy with C-MOVE or C-GET without a word"
    )
    job_retention_days: int = Field(
        default=90,
        ge=0,
        le=36_500,
        description="for which jobs that were sent or cancelled are kept; 0: for ever",
    )
    database_connections: int = Field(
        default=10,
        ge=3,
        le=100,
        description="to PostgreSQL at a time; a check of health has one more",
    )
