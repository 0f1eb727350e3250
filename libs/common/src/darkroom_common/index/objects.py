"""Readers of schema `index` for services that work with stored objects: which there are, and where.

Every statement on tables of the index stands here or beside this module, with the index of the
database that it relies on; a service writes none of its own. Studies that are deleted have no
objects. All of it runs in the caller's transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import asyncpg
import orjson

from darkroom_common.index.fields import BY_KEYWORD
from darkroom_common.index.rows import StoredInstance, UnreadableRow, attributes_of, readable
from darkroom_common.postgres.phi import BlindIndex, PhiKeys, normalise
from darkroom_common.postgres.pool import Connection, Database

INSTANCES: Final = (
    "(SELECT sop_instance_uid, sop_class_uid, transfer_syntax_uid, object_key, size,"
    " data_set_offset FROM index.instance)"
)
"""A relation to join rows of one's own with, by `sop_instance_uid`, which is unique in it.

PostgreSQL flattens it: such a join uses instance_sop_instance_uid_key as one on the table would.
"""

_TREE: Final = (
    " FROM index.study s JOIN index.series e ON e.study_id = s.id"
    " JOIN index.instance i ON i.series_id = e.id WHERE s.status <> 'deleted'"
)
_ORDER: Final = " ORDER BY e.series_number, e.id, i.instance_number, i.id"
# study_study_instance_uid_key, series_uid or instance_sop_instance_uid_key, whichever is given
_NAMED: Final = (
    " AND ($1::text IS NULL OR s.study_instance_uid = $1)"
    " AND ($2::text IS NULL OR e.series_instance_uid = $2)"
    " AND (cardinality($3::text[]) = 0 OR i.sop_instance_uid = ANY($3::text[]))"
)
_FIND: Final = f"SELECT i.sop_instance_uid{_TREE}{_NAMED}{_ORDER}"
_ANY: Final = f"SELECT EXISTS (SELECT{_TREE}{_NAMED})"
_IMAGES: Final = (
    f"SELECT i.sop_instance_uid, coalesce(i.number_of_frames, 1), s.id{_TREE}{_NAMED}"
    " AND i.pixel_rows IS NOT NULL"
    " AND (cardinality($4::text[]) = 0 OR e.modality = ANY($4::text[]))"
    " AND (cardinality($5::text[]) = 0 OR i.calling_ae_title = ANY($5::text[]))"
    f"{_ORDER} LIMIT $6"
)
_PATIENTS: Final = f"SELECT count(DISTINCT s.id) > 1{_TREE}{_NAMED}"
_PICTURES: Final = (
    "SELECT i.sop_instance_uid, i.object_key, i.pixel_rows, coalesce(i.number_of_frames, 1),"
    " i.calling_ae_title"
    f"{_TREE} AND i.sop_instance_uid = ANY($1::text[])"
)
_OF_SERIES: Final = (  # series_uid, instance_series
    f"SELECT e.series_instance_uid, i.sop_class_uid, i.sop_instance_uid{_TREE}"
    " AND e.series_instance_uid = ANY($1::text[]) ORDER BY i.instance_number, i.id"
)
_OF_STUDY: Final = (  # study_study_instance_uid_key, series_study, instance_series
    f"SELECT e.series_instance_uid, i.sop_class_uid, i.sop_instance_uid{_TREE}"
    f" AND s.study_instance_uid = $1{_ORDER}"
)
_UIDS: Final = (
    f"SELECT i.sop_instance_uid{_TREE} AND s.study_instance_uid = $1 LIMIT $2"  # the same
)

_STEPS: Final = (  # of a series one instance says it; instance_series
    "SELECT pgp_sym_decrypt_bytea(i.header, ($2::text[])[i.phi_key]) FROM index.study s"
    " JOIN index.series e ON e.study_id = s.id CROSS JOIN LATERAL (SELECT o.header, o.phi_key"
    " FROM index.instance o WHERE o.series_id = e.id AND length(o.header) > 0"
    " ORDER BY o.instance_number, o.id LIMIT 1) AS i"
    " WHERE s.status <> 'deleted' AND s.study_instance_uid = $1"
    " ORDER BY e.series_number, e.id LIMIT 200"
)
_STEP: Final = "00081111"  # Referenced Performed Procedure Step Sequence
_OF_ITEM: Final = ("00081150", "00081155")
_PATIENT_ID: Final = "PatientID"
_STORED: Final = (
    "SELECT s.id, i.id, s.study_instance_uid, e.series_instance_uid, i.sop_instance_uid,"
    " i.sop_class_uid, i.transfer_syntax_uid, i.object_key, i.size, i.data_set_offset, i.sha256"
    " FROM index.study s JOIN index.series e ON e.study_id = s.id"
    " JOIN index.instance i ON i.series_id = e.id WHERE s.status <> 'deleted'{named}"
    " ORDER BY s.id, e.series_number, e.id, i.instance_number, i.id LIMIT {most}"
)
_STORED_NOW: Final = (  # instance_sop_instance_uid_key
    "SELECT i.id, s.study_instance_uid, e.series_instance_uid, i.sop_instance_uid,"
    " i.sop_class_uid, i.transfer_syntax_uid, i.object_key, i.size, i.data_set_offset, i.sha256"
    f"{_TREE} AND i.sop_instance_uid = ANY($1::text[])"
)
_EVERY: Final = (
    "SELECT i.id, s.study_instance_uid, e.series_instance_uid, i.sop_instance_uid,"
    " i.sop_class_uid, i.transfer_syntax_uid, i.object_key, i.size, i.data_set_offset, i.sha256"
    f"{_TREE} AND i.id > $1 ORDER BY i.id LIMIT $2"
)
_NAMES: Final = (
    "SELECT s.id, pgp_sym_decrypt_bytea(s.phi, ($1::text[])[s.phi_key]) AS phi"
    " FROM index.study s WHERE s.id = ANY($2::bigint[])"
)


@dataclass(frozen=True)
class Wanted:
    """What a C-GET or C-MOVE names (PS3.4 section C.4.2.2): all of it has to hold.

    What is empty narrows nothing.

    Attributes:
        patient_id: just as it is written in the study.
        sources: AE titles of which one has sent something of the study.
    """

    patient_id: str = ""
    studies: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


class Picture(NamedTuple):
    """An instance as a film sees it."""

    sop_instance_uid: str
    object_key: str
    pixel_rows: int | None
    """None: it has no pixels."""
    frames: int
    calling_ae_title: str = ""


class Reference(NamedTuple):
    """An instance as other DICOM objects name it."""

    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


async def find_objects(
    db: Connection, study: str | None, series: str | None, instances: Sequence[str]
) -> list[str]:
    """Return the SOP instance UIDs of a study, a series or instances, in the order of viewing.

    What is given narrows the others; None and nothing are any.
    """
    return [row[0] for row in await db.fetch(_FIND, study, series, list(instances))]


async def has_objects(
    db: Connection, study: str | None, series: str | None, instances: Sequence[str]
) -> bool:
    """Tell whether `find_objects` would find any."""
    found: bool = await db.fetchval(_ANY, study, series, list(instances))
    return found


async def find_images(  # noqa: PLR0913 - what narrows them, by name
    db: Connection,
    *,
    study: str | None = None,
    series: str | None = None,
    modalities: Sequence[str] = (),
    calling_ae_titles: Sequence[str] = (),
    limit: int | None = None,
) -> list[tuple[str, int]]:
    """Return (SOP instance UID, number of frames) of what has pixels, in the order of viewing."""
    rows = await db.fetch(
        _IMAGES, study, series, [], list(modalities), list(calling_ae_titles), limit
    )
    return [(uid, frames) for uid, frames, _ in rows]


async def images_by_patient(
    db: Connection, *, study: str, modalities: Sequence[str], calling_ae_titles: Sequence[str]
) -> list[list[tuple[str, int]]]:
    """Return the same of a study, those of each of its patients by themselves, the first first."""
    titles = list(calling_ae_titles)
    rows = await db.fetch(_IMAGES, study, None, [], list(modalities), titles, None)
    found: dict[int, list[tuple[str, int]]] = {}
    for uid, frames, number in rows:
        found.setdefault(number, []).append((uid, frames))
    return [found[number] for number in sorted(found)]


async def of_several_patients(db: Connection, study: str | None, series: str | None) -> bool:
    """Tell whether a UID stands for more than one study: of another patient, or another study."""
    found: bool = await db.fetchval(_PATIENTS, study, series, [])
    return found


async def pictures(db: Connection, instances: Sequence[str]) -> dict[str, Picture]:
    """Return what a film needs of instances, by UID; what is not there is left out."""
    found = [Picture(*row) for row in await db.fetch(_PICTURES, list(instances))]
    return {one.sop_instance_uid: one for one in found}


async def references(db: Connection, series: Sequence[str]) -> list[Reference]:
    """Return the instances of some series."""
    return [Reference(*row) for row in await db.fetch(_OF_SERIES, list(series))]


async def stored_now(db: Connection, instances: Sequence[str]) -> dict[str, StoredInstance]:
    """Return where instances are, by UID; what is not there is left out."""
    rows = await db.fetch(_STORED_NOW, list(instances))
    return {one.sop_instance_uid: one for one in (StoredInstance(*row) for row in rows)}


async def every_stored(db: Connection, behind: int, most: int) -> list[StoredInstance]:
    """Return where the instances behind the row `behind` are, at most `most`, by their rows."""
    return [StoredInstance(*row) for row in await db.fetch(_EVERY, behind, most)]


async def references_of_study(db: Connection, study: str) -> list[Reference]:
    """Return the instances of a study, those of a series one after the other."""
    return [Reference(*row) for row in await db.fetch(_OF_STUDY, study)]


async def instance_uids(db: Connection, study: str, *, most: int) -> list[str]:
    """Return the UIDs of a study's instances, in any order."""
    return [row[0] for row in await db.fetch(_UIDS, study, most)]


async def steps_of_study(db: Connection, study: str, keys: PhiKeys) -> list[tuple[str, str]]:
    """Return SOP class and instance of the performed procedure steps that made a study's series.

    Raises:
        UnreadableRow: PHI_KEYS does not hold a row's key.
    """
    try:
        rows = await db.fetch(_STEPS, study, keys.by_id())
    except asyncpg.ExternalRoutineInvocationError as error:
        raise UnreadableRow("a row cannot be decrypted with PHI_KEYS") from error
    found: dict[tuple[str, str], None] = {}
    for row in rows:
        for item in orjson.loads(readable(row[0])).get(_STEP, {}).get("Value", ()):
            sop_class, uid = (_only(item.get(tag)) for tag in _OF_ITEM)
            if sop_class and uid:
                found[sop_class, uid] = None
    return list(found)


def _only(element: Any) -> str:
    """Return the one value of an element of DICOM JSON; nothing if there is none."""
    values = (element or {}).get("Value") or [""]
    return str(values[0])


async def find_stored(
    db: Connection, wanted: Wanted, *, keys: PhiKeys, blind: BlindIndex, most: int
) -> list[StoredInstance]:
    """Return where the instances are, in the order of viewing; one more than `most` of too many.

    study_study_instance_uid_key, series_uid, instance_sop_instance_uid_key or study_search, of what
    is named. A patient is meant who is written just so.

    Raises:
        UnreadableRow: PHI_KEYS does not hold a row's key.
    """
    named: list[tuple[str, Sequence[Any], str]] = [
        ("s.study_instance_uid = ANY", wanted.studies, "text[]"),
        ("e.series_instance_uid = ANY", wanted.series, "text[]"),
        ("i.sop_instance_uid = ANY", wanted.instances, "text[]"),
        ("s.calling_ae_titles && ", wanted.sources, "text[]"),
    ]
    if wanted.patient_id:
        token = blind.token(_PATIENT_ID, "value", normalise(wanted.patient_id))
        named.append(("s.blind && ", [token], "bytea[]"))
    given = [one for one in named if one[1]]
    if len(given) == bool(wanted.sources):  # nobody is to get everything
        return []
    conditions = "".join(
        f" AND {text}(${number}::{kind})" for number, (text, _, kind) in enumerate(given, 1)
    )
    sql = _STORED.format(named=conditions, most=f"${len(given) + 1}::bigint")
    rows = await db.fetch(sql, *(list(values) for _, values, _ in given), most + 1)
    if wanted.patient_id and rows:
        try:
            meant = await _of_patient(db, wanted.patient_id, {row[0] for row in rows}, keys)
        except asyncpg.ExternalRoutineInvocationError as error:
            raise UnreadableRow("a row cannot be decrypted with PHI_KEYS") from error
        rows = [row for row in rows if row[0] in meant]
    return [StoredInstance(*tuple(row)[1:]) for row in rows]


async def _of_patient(
    db: Connection, patient_id: str, studies: set[int], keys: PhiKeys
) -> frozenset[int]:
    """Return the studies whose patient has just this id: words are found by how they are alike."""
    rows = await db.fetch(_NAMES, keys.by_id(), sorted(studies))
    tag = BY_KEYWORD[_PATIENT_ID].tag
    found = set()
    for row in rows:
        values = attributes_of(row["phi"]).get(tag, {}).get("Value") or [""]
        if str(values[0]).strip() == patient_id.strip():
            found.add(row["id"])
    return frozenset(found)


async def frame_places(database: Database, one: StoredInstance) -> bytes | None:
    """Return where the compressed frames of an instance are (instance_pkey), if it is known.

    Raises:
        DependencyUnavailable: the database is away.
    """
    if one.frame_places is not None:
        return one.frame_places
    sql = "SELECT i.frame_places FROM index.instance i WHERE i.id = $1 AND i.object_key = $2"
    async with database.acquire() as db:
        found: bytes | None = await db.fetchval(sql, one.id, one.object_key)
    return found
