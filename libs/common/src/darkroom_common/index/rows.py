"""What the index holds of a study, a series and an instance, as values."""

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import orjson

from darkroom_common.errors import ConfigurationError

Json = dict[str, Any]
"""DICOM JSON of a data set (PS3.18 annex F): tag to element."""


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A study; `attributes` holds the patient's and the study's, or nothing if not asked for."""

    study_instance_uid: str
    study_date: dt.date | None
    study_time: dt.time | None
    modalities: tuple[str, ...]
    sop_classes: tuple[str, ...]
    calling_ae_titles: tuple[str, ...]
    series_count: int
    instance_count: int
    byte_count: int
    status: str
    revision: int
    version: int
    created_at: dt.datetime
    last_instance_at: dt.datetime
    completed_at: dt.datetime | None
    attributes: Json


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """A series."""

    series_instance_uid: str
    modality: str | None
    series_number: int | None
    instance_count: int
    version: int
    attributes: Json


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """An instance; `attributes` is its header, or nothing if not asked for."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    instance_number: int | None
    pixel_rows: int | None
    pixel_columns: int | None
    bits_allocated: int | None
    number_of_frames: int | None
    attributes: Json


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """Where the bytes of an instance are.

    Attributes:
        id: the row.
        size: bytes of the data set.
        data_set_offset: bytes of preamble and file meta before it in the object.
        sha256: of the data set.
        rows, columns, bits_allocated, frames: of its pixels, as its header says.
        written: grows with every change of the row.
    """

    id: int
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    object_key: str
    size: int
    data_set_offset: int
    sha256: bytes
    rows: int | None = None
    columns: int | None = None
    bits_allocated: int | None = None
    frames: int | None = None
    written: int = 0

    @property
    def object_size(self) -> int:
        """Bytes of the whole object."""
        return self.data_set_offset + self.size


@dataclass(frozen=True, slots=True)
class ConflictRow:
    """Something that disagrees with what the index has, and waits for an operator."""

    conflict_id: str
    kind: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    calling_ae_title: str
    size: int
    received_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Found:
    """One result of a search: the row of its level and those above that were asked for.

    Attributes:
        tags: what it says of the tags of the query, that are asked for.
    """

    study: StudyRow
    series: SeriesRow | None = None
    instance: InstanceRow | None = None
    tags: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """Some results of a search.

    Attributes:
        results: at most `limit` of the query.
        more: whether there are results after these.
        total: of all matches; None when there are more than are counted.
        guess: how many there are about, where they are not counted.
        last: study date and row of the last result, what a `Query` of studies may go on after.
    """

    results: list[Found]
    more: bool
    total: int | None
    guess: int = 0
    last: tuple[dt.date | None, int] | None = None


@dataclass(frozen=True, slots=True)
class Patients:
    """Some patients who match a search: attributes, and the number of studies, of each.

    Attributes:
        results: at most `limit` of the query.
        more: whether there are others after these.
        total: of all matches; None when there are more than are counted.
    """

    results: list[tuple[Json, int]]
    more: bool
    total: int | None


class UnreadableRow(ConfigurationError):
    """A row is encrypted under a key that PHI_KEYS lacks, or was damaged."""


def readable(decrypted: bytes | None) -> bytes:
    """Return what was decrypted; `''` stands for what was not asked for, NULL for no key."""
    if decrypted is None:
        raise UnreadableRow("PHI_KEYS lacks the key of a row")
    return decrypted


def attributes_of(decrypted: bytes | None) -> Json:
    """Return the attributes of a row whose `phi` was decrypted."""
    text = readable(decrypted)
    if not text:
        return {}
    document: dict[str, Json] = orjson.loads(text)
    return document.get("j", {})


def study_of(row: asyncpg.Record) -> StudyRow:
    """Return a study of its columns."""
    return StudyRow(
        study_instance_uid=row["study_instance_uid"],
        study_date=row["study_date"],
        study_time=row["study_time"],
        modalities=tuple(row["modalities"]),
        sop_classes=tuple(row["sop_classes"]),
        calling_ae_titles=tuple(row["calling_ae_titles"]),
        series_count=row["series_count"],
        instance_count=row["study_instance_count"],
        byte_count=row["byte_count"],
        status=row["status"],
        revision=row["revision"],
        version=row["study_version"],
        created_at=row["created_at"],
        last_instance_at=row["last_instance_at"],
        completed_at=row["completed_at"],
        attributes=attributes_of(row["study_phi"]),
    )
