"""What ingest can be told."""

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, SecretStr, model_validator

from darkroom_common.dicom.charset import is_assumable
from darkroom_common.dicom.limits import DEFAULT_LIMITS, ReadLimits
from darkroom_common.dimse.tls import TlsFiles
from darkroom_common.objects.keys import DEFAULT_TEMPLATE
from darkroom_common.settings import EVERY_INTERFACE, Settings
from darkroom_ingest.senders.admission import Policy


class IngestSettings(Settings):
    """Settings of ingest. It works without the database, by its copy of the list of senders."""

    dicom_host: str = EVERY_INTERFACE
    dicom_port: int = Field(default=11112, ge=1, le=65535)
    ae_title: str = Field(default="DARKROOM", min_length=1, max_length=16)
    require_called_ae_title: bool = True
    unknown_ae: Literal["accept", "nearby", "reject"] = Field(
        default="reject",
        description="what becomes of a calling AE that is not listed; nearby: accepted from this"
        " machine, and from private networks until a sender is listed",
    )
    processes: int = Field(
        default_factory=lambda: min(4, os.cpu_count() or 1),
        ge=1,
        le=64,
        description="that receive; by default one a core, up to 4",
    )
    max_associations: int = Field(default=100, ge=10)
    max_associations_per_host: int = Field(default=50, ge=1)
    dicom_plain: bool = Field(
        default=True, description="DICOM_PORT is served; false: DICOM over TLS alone"
    )
    dicom_tls_port: int = Field(default=2762, ge=1, le=65535)
    dicom_tls_certificate: Path | None = Field(
        default=None, description="PEM file; with it and the key, DICOM over TLS is served, too"
    )
    dicom_tls_key: Path | None = None
    dicom_tls_client_ca: Path | None = Field(
        default=None, description="PEM file of authorities of senders' certificates"
    )
    dicom_tls_clients: Literal["ignored", "optional", "required"] | None = Field(
        default=None, description="their certificates; by default required with a CLIENT_CA"
    )
    dicom_tls_minimum: Literal["1.2", "1.3"] = "1.2"
    dicom_tls_strict: bool = Field(
        default=True,
        description="senders' certificates and authorities follow RFC 5280 in all points; false"
        " takes an authority without key usage, for example",
    )
    request_seconds: float = Field(default=30, gt=0, description="for a whole A-ASSOCIATE-RQ")
    stall_seconds: float = Field(default=30, gt=0, description="without a byte within a PDU")
    idle_seconds: float = Field(default=60, gt=0, description="without a word between PDUs")
    max_pdu: int = Field(default=131072, ge=4096, description="bytes of one PDU that we offer")
    max_object_bytes: int = Field(default=4 << 30, gt=0)
    max_elements: int = Field(default=DEFAULT_LIMITS.elements, gt=0, description="of one object")
    max_depth: int = Field(
        default=DEFAULT_LIMITS.depth, gt=0, description="sequences within sequences"
    )
    max_inflated_bytes: int = Field(
        default=DEFAULT_LIMITS.inflated_bytes,
        gt=0,
        description="that a deflated object may grow to",
    )
    strict_uids: bool = Field(
        default=False, description="refuse UIDs that PS3.5 section 9.1 forbids"
    )
    private_sop_classes: tuple[str, ...] = Field(
        default=(), description="UIDs of other storage SOP classes to accept, as a JSON list"
    )
    stow_host: str = EVERY_INTERFACE
    stow_port: int = Field(
        default=11180, ge=1, le=65535, description="where the api hands over what comes by STOW-RS"
    )
    stow_ae_title: str = Field(
        default="DICOMWEB",
        min_length=1,
        max_length=16,
        description="the calling AE title of what comes by STOW-RS",
    )
    stow_uploads: int = Field(
        default=64, ge=1, description="bodies of STOW-RS at a time, of each of the processes"
    )
    stow_metadata_bytes: int = Field(
        default=16 << 20,
        ge=1 << 20,
        description="of metadata of STOW-RS, as JSON or XML, that each process has in memory",
    )
    stow_parts: int = Field(default=10_000, ge=1, description="of one body of STOW-RS")
    spool: Path
    reserve_bytes: int = Field(default=1 << 30, ge=0, description="room that is never used up")
    quarantine_bytes: int = Field(
        default=10 << 30, ge=0, description="kept of what was refused; beyond it nothing is"
    )
    store_url: str
    key_template: str = DEFAULT_TEMPLATE
    pseudonym_key: SecretStr
    phi_keys: SecretStr | None = Field(
        default=None, description="with BLIND_INDEX_KEY: C-FIND is served to listed senders"
    )
    blind_index_key: SecretStr | None = None
    query_relational: Literal["always", "negotiated"] = Field(
        default="always",
        description="who may leave out the UIDs of the levels above; negotiated: who has asked for"
        " that when it opened the association",
    )
    query_fuzzy: Literal["always", "negotiated"] = Field(
        default="negotiated", description="whose person names are matched by how their words begin"
    )
    query_seconds: float = Field(default=600, gt=0, description="for all answers to one C-FIND")
    retrieve_seconds: float = Field(
        default=14_400, gt=0, description="for all sub-operations of one C-GET or C-MOVE"
    )
    retrieve_instances: int = Field(
        default=65_535, ge=1, le=65_535, description="of one C-GET or C-MOVE, at most"
    )
    retrieve_bytes: int = Field(
        default=256 << 30, ge=1, description="of one C-GET or C-MOVE, at most, as they are stored"
    )
    retrieve_moves: int = Field(
        default=20, ge=1, description="C-MOVEs of one asker that are not over, at most"
    )
    commitment_instances: int = Field(
        default=10_000, ge=1, le=50_000, description="of one request for commitment, at most"
    )
    move_silence_seconds: float = Field(
        default=120,
        gt=0,
        description="in which a destination of a C-MOVE has to take something, or it is given up",
    )
    database_connections: int = Field(
        default=4,
        ge=1,
        le=100,
        description="of each of the processes for C-FIND, C-MOVE and C-GET, and half as many for"
        " searches; the service itself has four more",
    )
    conversion_processes: int = Field(
        default=1,
        ge=1,
        le=64,
        description="of each of the processes, that make over what goes out by C-GET; they are"
        " started when they are needed",
    )
    conversion_memory: int = Field(
        default=2 << 30, ge=256 << 20, description="bytes of address space of each of them"
    )
    hl7_host: str = EVERY_INTERFACE
    hl7_port: int | None = Field(
        default=None, ge=1, le=65535, description="of MLLP for orders; unset: it is not served"
    )
    hl7_peers: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(ip_network("127.0.0.0/8"), ip_network("::1/128")),
        description="networks that may connect to it, as a JSON list",
    )
    hl7_tls: bool = Field(
        default=False, description="that port is TLS, with what DICOM_TLS_* say of certificates"
    )
    hl7_connections: int = Field(default=50, ge=1)
    hl7_connections_per_host: int = Field(default=10, ge=1)
    hl7_bytes: int = Field(
        default=1 << 20, ge=1024, le=64 << 20, description="of one message, and of a dropped file"
    )
    hl7_message_seconds: float = Field(default=30, gt=0, description="for a whole message")
    hl7_idle_seconds: float = Field(default=3600, gt=0, description="without a message")
    hl7_character_set: str = Field(
        default="ISO_IR 192",
        description="of messages without MSH-18, in the words of (0008,0005), or a code page",
    )
    worklist_directory: Path | None = Field(
        default=None, description="where files are dropped that become entries of the worklist"
    )
    worklist_days: int = Field(
        default=90, ge=0, description="for which an entry is kept after its start; 0: for ever"
    )
    query_answers: int = Field(default=2_000_000, ge=1, description="to one C-FIND, at most")

    @model_validator(mode="after")
    def check_pairs(self) -> Self:
        """Refuse half of what belongs together: it would be no TLS, or no check, without a word."""
        if (self.dicom_tls_certificate is None) is not (self.dicom_tls_key is None):
            raise ValueError("DICOM_TLS_CERTIFICATE and DICOM_TLS_KEY belong together")
        asked = self.dicom_tls_clients not in {None, "ignored"}
        if asked and self.dicom_tls_client_ca is None:
            raise ValueError("DICOM_TLS_CLIENTS needs DICOM_TLS_CLIENT_CA")
        if (self.phi_keys is None) is not (self.blind_index_key is None):
            raise ValueError("PHI_KEYS and BLIND_INDEX_KEY belong together")
        if not self.dicom_plain and self.dicom_tls_certificate is None:
            raise ValueError("without DICOM_PLAIN there has to be DICOM_TLS_CERTIFICATE")
        if self.hl7_tls and self.dicom_tls_certificate is None:
            raise ValueError("HL7_TLS needs DICOM_TLS_CERTIFICATE")
        if not is_assumable(self.hl7_character_set):
            raise ValueError("HL7_CHARACTER_SET is no character set")
        if self.dicom_tls_client_ca is not None and self.dicom_tls_certificate is None:
            raise ValueError("DICOM_TLS_CLIENT_CA needs DICOM_TLS_CERTIFICATE")
        return self

    @property
    def tls(self) -> TlsFiles | None:
        """The files of TLS; None without TLS."""
        if self.dicom_tls_certificate is None or self.dicom_tls_key is None:
            return None
        by_default: Final = "ignored" if self.dicom_tls_client_ca is None else "required"
        return TlsFiles(
            certificate=self.dicom_tls_certificate,
            key=self.dicom_tls_key,
            client_ca=self.dicom_tls_client_ca,
            clients=self.dicom_tls_clients or by_default,
            minimum=self.dicom_tls_minimum,
            strict=self.dicom_tls_strict,
        )

    @property
    def policy(self) -> Policy:
        """What holds whatever the list of senders says."""
        return Policy(
            ae_title=self.ae_title.strip(),
            require_called=self.require_called_ae_title,
            accept_unknown=self.unknown_ae != "reject",
            only_nearby=self.unknown_ae == "nearby",
        )

    @property
    def read_limits(self) -> ReadLimits:
        """Bounds on the data set of one object."""
        return ReadLimits(self.max_depth, self.max_elements, self.max_inflated_bytes)
