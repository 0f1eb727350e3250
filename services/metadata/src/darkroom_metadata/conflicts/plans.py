"""What a merge, a move or a split changes: of which instances, and which of their attributes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import orjson
from pydicom.tag import Tag

from darkroom_common.dicom.identity import derived_uid
from darkroom_common.dicom.json_values import texts
from darkroom_common.errors import PermanentError
from darkroom_common.postgres.phi import BlindIndex, PhiKeys
from darkroom_common.postgres.pool import Connection
from darkroom_common.specs.conflicts import Decision
from darkroom_metadata.conflicts.objects import Values

MODALITY: Final = Tag("Modality")
STUDY: Final = Tag("StudyInstanceUID")
SERIES: Final = Tag("SeriesInstanceUID")
_IDENTITY: Final = tuple(
    Tag(keyword)
    for keyword in (
        "PatientName",
        "PatientID",
        "IssuerOfPatientID",
        "PatientBirthDate",
        "PatientSex",
    )
)
"""What makes one patient of another; the rest of the patient module stays as it came."""
_QUALIFIERS: Final = Tag("IssuerOfPatientIDQualifiersSequence")
"""Says more of an issuer, and goes with it."""
_STUDY: Final = (
    "SELECT s.study_instance_uid, s.patient_id,"
    " pgp_sym_decrypt(s.phi, ($1::text[])[s.phi_key]) AS phi FROM index.study s WHERE s.id = $2"
)
_PATIENT: Final = (  # patient_patient_key_key
    "SELECT p.id, pgp_sym_decrypt(p.phi, ($1::text[])[p.phi_key]) AS phi"
    " FROM index.patient p WHERE p.patient_key = $2"
)
_MODALITY: Final = "SELECT modality FROM index.series WHERE id = $1"
_SHARED: Final = (  # series_beside_study, series_uid
    "SELECT DISTINCT e.series_instance_uid FROM index.series e"
    " JOIN index.series o ON o.series_instance_uid = e.series_instance_uid AND o.study_id <> $1"
    " WHERE e.study_id = $1"
)


class NotPossible(PermanentError):
    """It cannot be done; the text says why, without PHI."""


@dataclass(frozen=True)
class Plan:
    """What is to be done with the instances of a study's or a series' row.

    Attributes:
        study: whose instances; None: those of `series`.
        changes: returns what changes of an instance, by its series' UID.
        target: the row of the study that they come to, if it must be a certain one.
    """

    study: int | None
    series: int | None
    changes: Callable[[str], Values]
    target: int | None = None


async def plan(  # noqa: PLR0913 - what it decides by
    db: Connection,
    row: asyncpg.Record,
    action: str,
    decision: Decision,
    *,
    job: str,
    keys: PhiKeys,
    blind: BlindIndex,
) -> Plan:
    """Return the plan of a merge, a move or a split.

    Raises:
        NotPossible: what it needs is not there.
    """
    study, series = row["beside_study_id"], row["beside_series_id"]
    match row["kind"], action:
        case "patient", "merge":
            first = await _study(db, keys, row["first_study_id"])
            values = _identity(first["phi"])
            return Plan(study, None, lambda _: values, row["first_study_id"])
        case "patient", "move":
            own = await _study(db, keys, study)
            other = await _patient(db, keys, blind, decision, other_than=own["patient_id"])
            return Plan(study, None, lambda _: other)
        case "patient", "split":
            shared = {one[0] for one in await db.fetch(_SHARED, study)}
            uid = derived_uid("split", job)

            def apart(series_uid: str) -> Values:
                values: dict[int, str | None] = {STUDY: uid}
                if series_uid in shared:
                    values[SERIES] = derived_uid("split", job, series_uid)
                return values

            return Plan(study, None, apart)
        case "series", "merge":
            first = await _study(db, keys, row["first_study_id"])
            values = {STUDY: first["study_instance_uid"], **_identity(first["phi"])}
            return Plan(None, series, lambda _: values, row["first_study_id"])
        case "modality", "merge":
            modality = await db.fetchval(_MODALITY, row["first_series_id"])
            if modality is None:
                raise NotPossible("what it disagrees with is not there any more")
            return Plan(None, series, lambda _: {MODALITY: modality})
        case (("series" | "modality"), "split"):
            return Plan(None, series, lambda uid: {SERIES: derived_uid("split", job, uid)})
        case _:
            raise NotPossible("a conflict of this kind does not take this")


async def _study(db: Connection, keys: PhiKeys, number: int) -> asyncpg.Record:
    found = await db.fetchrow(_STUDY, keys.by_id(), number)
    if found is None:
        raise NotPossible("what it disagrees with is not there any more")
    return found


async def _patient(
    db: Connection, keys: PhiKeys, blind: BlindIndex, decision: Decision, *, other_than: int
) -> Values:
    text = f"{decision.issuer_of_patient_id}\x1f{decision.patient_id}"
    found = await db.fetchrow(_PATIENT, keys.by_id(), blind.token("patient", "value", text))
    if not decision.patient_id or found is None:
        raise NotPossible("the index knows no such patient")
    if found["id"] == other_than:
        raise NotPossible("the images are of this patient already")
    return _identity(found["phi"])


def _identity(phi: str) -> dict[int, str | None]:
    """Return who a row is about."""
    known: Mapping[str, Any] = orjson.loads(phi)["j"]
    values: dict[int, str | None] = {_QUALIFIERS: None}
    for tag in _IDENTITY:
        found = texts(known.get(f"{tag:08X}"))
        values[tag] = "\\".join(found) if found else None
    return values
