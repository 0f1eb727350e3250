"""What the index holds of a study, a series and an instance, as values."""

import datetime as dt
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import orjson

from darkroom_common.errors import ConfigurationError
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Connection, the_row

Json = dict[str, Any]
"""DICOM JSON of a data set (PS3.18 annex F): tag to element."""


STUDY: Final = (
    "s.id AS study_id, s.study_instance_uid, s.study_date, s.study_time, s.modalities,"
    " s.sop_classes, s.calling_ae_titles, s.series_count, s.instance_count AS study_instance_count,"
    " s.byte_count, s.status, s.revision, s.version AS study_version, s.created_at,"
    " s.last_instance_at, s.completed_at, {study} AS study_phi"
)
_STUDIES_OF: Final = (  # study_pkey
    "SELECT {columns}, pgp_sym_decrypt_bytea(s.phi, ($1::text[])[s.phi_key]) AS study_phi"
    " FROM unnest($2::bigint[]) WITH ORDINALITY AS asked (id, place)"
    " JOIN index.study s ON s.id = asked.id{beside}"
    " WHERE s.status <> 'deleted' ORDER BY asked.place"
)
_SHOWN: Final = b'{"j":'
_SEARCHED: Final = b',"n":{'
"""Where what is shown begins, and where it ends: no text in it has a plain quotation mark."""
_INSTITUTION: Final = "00080080"
FIRST_SERIES: Final = (  # study_study_instance_uid_key, series_study_id_series_instance_uid_key
    "(SELECT pgp_sym_decrypt_bytea(f.phi, coalesce(({keys})[f.phi_key], '')) FROM"
    " (SELECT e.phi, e.phi_key FROM index.study s JOIN index.series e ON e.study_id = s.id"
    "  WHERE s.study_instance_uid = {uid} ORDER BY s.id, e.id LIMIT 1) AS f)"
)
"""What there is of the first series of a study, for `institution_in`: by SQL of keys and UID."""
ORDERED: Final = (  # study_order_pkey
    "(SELECT o.ordered_at FROM index.study_order o WHERE o.study_instance_uid = {uid})"
)
"""When a study was ordered, by SQL of its UID; NULL: nobody has ordered it."""
_OWN_UID: Final = "s.study_instance_uid"
LISTED: Final = {
    "study_instance_uid": _OWN_UID,
    "study_date": "s.study_date",
    "study_time": "s.study_time",
    "modalities": "array_to_string(s.modalities, ', ')",
    "sender": "coalesce(s.calling_ae_titles[1], '')",
    "series_count": "s.series_count",
    "instance_count": "s.instance_count",
    "byte_count": "s.byte_count",
    "status": "s.status",
    "created_at": "s.created_at",
    "ordered_at": ORDERED.format(uid=_OWN_UID),
    "first_series": FIRST_SERIES.format(keys="$1::text[]", uid=_OWN_UID),
}
"""What lists have of studies, by the name that `studies_sql` takes."""


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
class PatientRow:
    """A patient, and how many studies, series and instances there are."""

    attributes: Json
    studies: int
    series: int
    instances: int


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
        frame_places: of its one frame, if that is compressed, see `objects.frame_places`.
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
    frame_places: bytes | None = None

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
    """Some patients who match a search.

    Attributes:
        results: at most `limit` of the query.
        more: whether there are others after these.
        total: of all matches; None when there are more than are counted.
        last: what a `Query` may go on after.
    """

    results: list[PatientRow]
    more: bool
    total: int | None
    last: tuple[None, int] | None = None


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
    end = text.rfind(_SEARCHED) if text.startswith(_SHOWN) else -1
    if end > 0:  # what is searched by is half of it, and is not looked at
        shown: Json = orjson.loads(text[len(_SHOWN) : end])
        return shown
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


def studies_sql(names: Sequence[str], *, more: Sequence[str] = (), beside: str = "") -> str:
    """Return the statement for `studies_of`.

    Args:
        names: columns of `LISTED`.
        more: further ones, in SQL.
        beside: joins that these need, of the study `s`; with no study they lose or double.
    """
    columns = [f"{LISTED[name]} AS {name}" for name in names]
    return _STUDIES_OF.format(columns=", ".join([*columns, *more]), beside=beside)


async def studies_of(
    db: Connection, sql: str, keys: PhiKeys, ids: Sequence[int]
) -> list[asyncpg.Record]:
    """Return what lists have of studies, by the ids of their rows, in that order.

    Those that are gone are left out. `study_phi` is for `attributes_of` when it is needed: parsed,
    it takes ten times as much, and four times as long when much of it is held.

    Args:
        db: where.
        sql: of `studies_sql`.
        keys: that open them.
        ids: of the rows.

    Raises:
        UnreadableRow: PHI_KEYS does not hold a row's key.
    """
    try:
        return list(await db.fetch(sql, keys.by_id(), list(ids)))
    except asyncpg.ExternalRoutineInvocationError as error:
        raise UnreadableRow("a row cannot be decrypted with PHI_KEYS") from error


def institution_in(decrypted: bytes | None) -> str:
    """Return the institution that a series names, whose `phi` was decrypted; or nothing."""
    names = attributes_of(decrypted).get(_INSTITUTION, {}).get("Value")
    return str(names[0]) if names and names[0] else ""


_MOST: Final = 10_000
"""Instances: some 5 MB."""
# By the keys of instance, series and study; `written` is of the version that was looked up.
HOLDS: Final = (
    "EXISTS (SELECT FROM index.instance i JOIN index.series e ON e.id = i.series_id"
    " JOIN index.study s ON s.id = e.study_id WHERE i.id = asked.instance"
    " AND i.xmin::text::bigint = asked.written AND e.series_instance_uid = asked.series"
    " AND s.study_instance_uid = asked.study AND s.status <> 'deleted')"
)
"""Whether an instance is still as it was: of a row `asked` with its id, `written` and UIDs."""
# study_study_instance_uid_key, series_study
_OF_STUDIES: Final = (
    "ARRAY(SELECT s.xmin::text::bigint FROM index.study s WHERE s.study_instance_uid = {0}"
    " ORDER BY s.id)"
)
_OF_SERIES: Final = (
    "ARRAY(SELECT e.xmin::text::bigint FROM index.study s JOIN index.series e ON e.study_id = s.id"
    " WHERE s.study_instance_uid = {0} ORDER BY e.id)"
)
_VERSIONS: Final = f"SELECT {_OF_STUDIES.format('$1')}, {_OF_SERIES.format('$1')}"
UNCHANGED: Final = (
    f"({_OF_STUDIES.format('asked.uid')} = asked.studies"
    f" AND {_OF_SERIES.format('asked.uid')} = asked.of_series)"
)
"""Whether those are still the same: of a row `asked` with a UID and what was said of it."""


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of what the index has of a study UID: they differ after every change of it.

    Attributes:
        study_uid: which.
        studies: of its rows, one for each patient who has it.
        series: of its series.
    """

    study_uid: str
    studies: tuple[int, ...]
    series: tuple[int, ...]


async def versions_of(db: Connection, study_uid: str) -> Versions:
    """Return the versions of what there is of a study UID, as it is now."""
    studies, series = the_row(await db.fetchrow(_VERSIONS, study_uid))
    return Versions(study_uid, tuple(studies), tuple(series))


class KnownInstances:
    """The instances that were looked up last: a viewer asks for one after the other of a series.

    What is kept in mind may have been deleted, moved or replaced meanwhile. It is used for an
    answer that does not begin before the index has said, in a statement that is made for the
    answer anyway, that it still holds (`HOLDS`).
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str | None, ...], StoredInstance] = OrderedDict()

    def recall(self, *uids: str | None) -> StoredInstance | None:
        """Return the instance of these UIDs of study, series and itself, as it was."""
        found = self._kept.get(uids)
        if found is not None:
            self._kept.move_to_end(uids)
        return found

    def keep(self, found: Sequence[StoredInstance]) -> None:
        """Keep in mind what was looked up, unless there is too much of it."""
        if len(found) > _MOST:
            return
        for one in found:
            self._kept[_key(one)] = one
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)

    def forget(self, one: StoredInstance) -> None:
        """Forget what does not hold any more."""
        self._kept.pop(_key(one), None)


def _key(one: StoredInstance) -> tuple[str | None, ...]:
    return one.study_instance_uid, one.series_instance_uid, one.sop_instance_uid
