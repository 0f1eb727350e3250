"""Under which study and series instances are filed: what has their UIDs and does not disagree.

A study whose patient is another, and a series whose modality is another, gets a row beside the one
that was first, so that each is shown and found with the values that its objects have. Whoever
disagrees first makes that row, and a conflict that names both.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

import orjson

from darkroom_common.postgres.phi import PGP_OPTIONS, PhiKeys
from darkroom_common.postgres.pool import Connection
from darkroom_metadata.indexing.extract import TEXT_FLAGS
from darkroom_metadata.indexing.item import Item, LostRace, differ, hexadecimal

Kind = Literal["patient", "series", "modality"]
_IDENTIFIERS: Final = ("PatientID", "IssuerOfPatientID")
_DEMOGRAPHICS: Final = ("PatientName", "PatientBirthDate", "PatientSex")
"""What is compared when the patient id is the same: where both have a value."""
_NOT_TEXT: Final = ("PatientBirthDate", "PatientSex")
"""What of it is the same in every character set."""
_STUDIES: Final = (  # study_study_instance_uid_key, study_beside_uid, study_edit_pkey
    "SELECT s.id, s.study_instance_uid, s.patient_id,"
    " pgp_sym_decrypt(s.phi, nullif(($1::text[])[s.phi_key], ''))::jsonb ->> 'n' AS known,"
    " pgp_sym_decrypt(d.phi, nullif(($1::text[])[d.phi_key], ''))::jsonb ->> 'before' AS before"
    " FROM index.study s LEFT JOIN index.study_edit d ON d.id = s.id"
    " WHERE s.study_instance_uid = ANY($2::text[]) ORDER BY s.id"
)
_UNSURE: Final = (  # study_pkey, series_study_id_series_instance_uid_key, instance_series
    "SELECT s.id FROM index.study s CROSS JOIN LATERAL (SELECT pgp_sym_decrypt(s.phi,"
    " nullif(($1::text[])[s.phi_key], ''))::jsonb -> 'j' ->> '00100010' AS name OFFSET 0) AS p"
    " WHERE s.id = ANY($2::bigint[]) AND octet_length(p.name) > char_length(p.name)"
    " AND EXISTS (SELECT FROM index.series e JOIN index.instance i ON i.series_id = e.id"
    "  WHERE e.study_id = s.id AND i.flags && $3::text[])"
)
_ADD_STUDIES: Final = (
    " (study_instance_uid, patient_id, study_date, study_time, phi, phi_key, blind, traceparent,"
    " utc_offset)"
    " SELECT uid, patient, day, moment, pgp_sym_encrypt(phi, $7, $9), $8,"
    " ARRAY(SELECT decode(h, 'hex') FROM unnest(string_to_array(blind, ',')) AS h), trace, ahead"
    " FROM unnest($1::text[], $2::bigint[], $3::date[], $4::time[], $5::text[], $6::text[],"
    " $10::text[], $11::smallint[]) AS given (uid, patient, day, moment, phi, blind, trace, ahead)"
    " ON CONFLICT DO NOTHING RETURNING id, study_instance_uid"
)
_SERIES: Final = (  # series_study_id_series_instance_uid_key, series_beside_study
    "SELECT e.id, e.study_id, e.series_instance_uid, e.modality FROM index.series e"
    " WHERE (e.study_id, e.series_instance_uid) IN"
    " (SELECT * FROM unnest($1::bigint[], $2::text[])) ORDER BY e.id"
)
_ADD_SERIES: Final = (
    " (study_id, series_instance_uid, modality, series_number, performed_date, performed_time,"
    " phi, phi_key, blind)"
    " SELECT study, uid, modality, number, day, moment, pgp_sym_encrypt(phi, $9, $11), $10,"
    " ARRAY(SELECT decode(h, 'hex') FROM unnest(string_to_array(blind, ',')) AS h)"
    " FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::date[], $6::time[],"
    " $7::text[], $8::text[]) AS given (study, uid, modality, number, day, moment, phi, blind)"
    " ON CONFLICT DO NOTHING RETURNING id, study_id, series_instance_uid"
)
_ELSEWHERE: Final = (  # series_uid, series_beside_uid
    "SELECT e.id, e.study_id, e.series_instance_uid, s.study_instance_uid"
    " FROM index.series e JOIN index.study s ON s.id = e.study_id"
    " WHERE e.series_instance_uid = ANY($1::text[]) AND s.status <> 'deleted' ORDER BY e.id"
)
_INTO: Final = {False: "INSERT INTO index.{}", True: "INSERT INTO index.{}_beside"}


class Place(NamedTuple):
    """The rows of the study and the series that an instance is filed under."""

    study: int
    series: int


@dataclass(frozen=True)
class Disagreement:
    """A row that was made since an instance disagrees with the one that was first.

    Attributes:
        attributes: keywords of what disagrees.
        first: rows of the study and, when it is about series, of the series that was first.
        beside: the same of what was made for the instance.
        item: the first instance that disagrees.
    """

    kind: Kind
    attributes: tuple[str, ...]
    first: tuple[int, int | None]
    beside: tuple[int, int | None]
    item: Item


@dataclass(frozen=True)
class KnownStudy:
    """A study that there is, as far as instances may disagree with it.

    Attributes:
        sure: whether the name is what its bytes are: one name in two readings is one patient.
        before: whose it was, and what was known of them, before people edited it: instances that
            say so do not know of that, and belong to it all the same.
    """

    id: int
    patient: int
    known: dict[str, str]
    sure: bool = True
    before: tuple[tuple[int, dict[str, str]], ...] = ()

    def disagrees(
        self, patient: int, known: dict[str, str], *, sure: bool = True
    ) -> tuple[str, ...]:
        """Return the keywords of what is another with a patient, whose text is `sure` or not."""
        for was, said in self.before:
            if not replace(self, patient=was, known=said, before=()).disagrees(
                patient, known, sure=sure
            ):
                return ()
        compared = _DEMOGRAPHICS if self.sure and sure else _NOT_TEXT
        found = [name for name in compared if differ(self.known.get(name), known.get(name))]
        if patient == self.patient:
            return tuple(found)
        ids = [name for name in _IDENTIFIERS if self.known.get(name, "") != known.get(name, "")]
        return (*(ids or _IDENTIFIERS[:1]), *found)


class Named(NamedTuple):
    """A study with its UID."""

    uid: str
    study: KnownStudy


async def known_studies(db: Connection, keys: PhiKeys, uids: Sequence[str]) -> list[Named]:
    """Return the studies with these UIDs, those that were first before those beside them."""
    found = []
    for row in await db.fetch(_STUDIES, keys.by_id(), uids):
        known: dict[str, str] = orjson.loads(row["known"] or "{}")
        was = tuple((one["patient"], one["n"]) for one in orjson.loads(row["before"] or "[]"))
        study = KnownStudy(row["id"], row["patient_id"], known, before=was)
        found.append(Named(row["study_instance_uid"], study))
    return found


def alike(one: str | None, other: str | None) -> bool:
    """Tell whether two modalities may be of one series: a missing one disagrees with none."""
    return None in (one, other) or one == other


def is_stranger(first: Item, other: Item) -> bool:
    """Tell whether an instance does not belong to the patient of another."""
    patients = [0, int(first.found.patient_key != other.found.patient_key)]
    one, two = (orjson.loads(item.found.patient.json)["n"] for item in (first, other))
    sure = _is_sure(first) and _is_sure(other)
    return bool(KnownStudy(0, patients[0], one).disagrees(patients[1], two, sure=sure))


def _is_sure(item: Item) -> bool:
    """Tell whether the name of an instance is what its bytes are: ASCII is, in every set."""
    if TEXT_FLAGS.isdisjoint(item.found.flags):
        return True
    name = orjson.loads(item.found.patient.json)["j"].get("00100010", {})
    return orjson.dumps(name).isascii()


@dataclass(frozen=True)
class Filing:
    """Finds or makes the rows of studies and series, in the caller's transaction.

    The caller holds the locks of the studies' UIDs: nobody else makes such rows meanwhile.
    """

    keys: PhiKeys

    async def places(
        self, db: Connection, items: Sequence[Item], patients: dict[bytes, int]
    ) -> tuple[list[Place], list[Disagreement]]:
        """Return where each item is filed, and what was made since it disagrees.

        Raises:
            LostRace: a writer that does not know of these locks was quicker.
        """
        studies, disagreements = await self._studies(db, items, patients)
        series, more = await self._series(db, items, studies)
        places = [Place(*rows) for rows in zip(studies, series, strict=True)]
        return places, [*disagreements, *more]

    async def _studies(
        self, db: Connection, items: Sequence[Item], patients: dict[bytes, int]
    ) -> tuple[list[int], list[Disagreement]]:
        asked = [
            (item.event.study_instance_uid, item.found.patient_key, item.found.patient.json)
            for item in items
        ]
        first: dict[tuple[str, bytes, str], Item] = {}
        for key, item in zip(asked, items, strict=True):
            first.setdefault(key, item)
        rows: dict[tuple[str, bytes, str], int] = {}
        disagreements: list[Disagreement] = []
        there: dict[str, list[KnownStudy]] = {}
        uids = sorted({uid for uid, _, _ in first})
        for uid, study in await known_studies(db, self.keys, uids):
            there.setdefault(uid, []).append(study)
        await self._doubt(db, first, patients, there)
        while len(rows) < len(first):
            missing: dict[str, tuple[str, bytes, str]] = {}
            for key, item in first.items():
                if key in rows:
                    continue
                uid, patient_key, text = key
                patient, known = patients[patient_key], orjson.loads(text)["n"]
                for study in there.get(uid, ()):
                    if not study.disagrees(patient, known, sure=_is_sure(item)):
                        rows[key] = study.id
                        break
                else:
                    missing.setdefault(uid, key)
            made = await self._add_studies(
                db, [first[key] for key in missing.values()], patients, there
            )
            for uid, key in missing.items():
                _, patient_key, text = key
                sure = _is_sure(first[key])
                study = KnownStudy(made[uid], patients[patient_key], orjson.loads(text)["n"], sure)
                before = there.setdefault(uid, [])
                if before:
                    attributes = before[0].disagrees(study.patient, study.known)
                    sides = (before[0].id, None), (study.id, None)
                    disagreements.append(Disagreement("patient", attributes, *sides, first[key]))
                before.append(study)
                rows[key] = study.id
        return [rows[key] for key in asked], disagreements

    async def _doubt(
        self,
        db: Connection,
        first: dict[tuple[str, bytes, str], Item],
        patients: dict[bytes, int],
        there: dict[str, list[KnownStudy]],
    ) -> None:
        """Look which studies are not sure of their text, where an instance agrees with none."""
        alone = {
            uid
            for (uid, patient_key, text), item in first.items()
            if uid in there
            and all(
                study.disagrees(patients[patient_key], orjson.loads(text)["n"], sure=_is_sure(item))
                for study in there[uid]
            )
        }
        if not alone:
            return
        rows = [study.id for uid in alone for study in there[uid]]
        found = await db.fetch(_UNSURE, self.keys.by_id(), rows, sorted(TEXT_FLAGS))
        unsure = {row["id"] for row in found}
        for uid in alone:
            there[uid] = [replace(study, sure=study.id not in unsure) for study in there[uid]]

    async def _add_studies(
        self,
        db: Connection,
        items: Sequence[Item],
        patients: dict[bytes, int],
        there: dict[str, list[KnownStudy]],
    ) -> dict[str, int]:
        """Add a study for each of these items: beside those that have its UID."""
        made: dict[str, int] = {}
        for beside in (False, True):
            some = [
                item for item in items if bool(there.get(item.event.study_instance_uid)) is beside
            ]
            if not some:
                continue
            some.sort(key=lambda item: item.event.study_instance_uid)
            found = [item.found for item in some]
            added = await db.fetch(
                _INTO[beside].format("study") + _ADD_STUDIES,
                [item.event.study_instance_uid for item in some],
                [patients[one.patient_key] for one in found],
                [one.study_date for one in found],
                [one.study_time for one in found],
                [one.study.json for one in found],
                [hexadecimal(one.study.tokens) for one in found],
                self.keys.current_key,
                self.keys.current,
                PGP_OPTIONS,
                [item.event.traceparent for item in some],
                [one.utc_offset for one in found],
            )
            if len(added) != len(some):
                raise LostRace("a study was added by another indexer")
            made |= {row["study_instance_uid"]: row["id"] for row in added}
        return made

    async def _series(
        self, db: Connection, items: Sequence[Item], studies: Sequence[int]
    ) -> tuple[list[int], list[Disagreement]]:
        asked = [
            (study, item.event.series_instance_uid, item.found.modality)
            for item, study in zip(items, studies, strict=True)
        ]
        first: dict[tuple[int, str, str | None], Item] = {}
        for key, item in zip(asked, items, strict=True):
            first.setdefault(key, item)
        pairs = sorted({(study, uid) for study, uid, _ in first})
        there: dict[tuple[int, str], list[tuple[int, str | None]]] = {}
        for row in await db.fetch(_SERIES, *zip(*pairs, strict=True)):
            known = there.setdefault((row["study_id"], row["series_instance_uid"]), [])
            known.append((row["id"], row["modality"]))
        rows: dict[tuple[int, str, str | None], int] = {}
        disagreements: list[Disagreement] = []
        made: dict[int, tuple[tuple[int, str, str | None], bool]] = {}
        while len(rows) < len(first):
            missing: dict[tuple[int, str], tuple[int, str, str | None]] = {}
            for key in first:
                if key in rows:
                    continue
                study, uid, modality = key
                for number, kept in there.get((study, uid), ()):
                    if alike(kept, modality):
                        rows[key] = number
                        break
                else:
                    missing.setdefault((study, uid), key)
            added = await self._add_series(db, {key: first[key] for key in missing.values()}, there)
            for pair, key in missing.items():
                number, before = added[pair], there.setdefault(pair, [])
                if before:
                    sides = (pair[0], before[0][0]), (pair[0], number)
                    item = first[key]
                    disagreements.append(Disagreement("modality", ("Modality",), *sides, item))
                made[number] = key, bool(before)
                before.append((number, key[2]))
                rows[key] = number
        alone = {number: first[key] for number, (key, beside) in made.items() if not beside}
        disagreements += await self._elsewhere(db, alone)
        return [rows[key] for key in asked], disagreements

    async def _add_series(
        self,
        db: Connection,
        items: dict[tuple[int, str, str | None], Item],
        there: dict[tuple[int, str], list[tuple[int, str | None]]],
    ) -> dict[tuple[int, str], int]:
        made: dict[tuple[int, str], int] = {}
        for beside in (False, True):
            some = sorted(key for key in items if bool(there.get(key[:2])) is beside)
            if not some:
                continue
            found = [items[key].found for key in some]
            added = await db.fetch(
                _INTO[beside].format("series") + _ADD_SERIES,
                [study for study, _, _ in some],
                [uid for _, uid, _ in some],
                [one.modality for one in found],
                [one.series_number for one in found],
                [one.performed_date for one in found],
                [one.performed_time for one in found],
                [one.series.json for one in found],
                [hexadecimal(one.series.tokens) for one in found],
                self.keys.current_key,
                self.keys.current,
                PGP_OPTIONS,
            )
            if len(added) != len(some):
                raise LostRace("a series was added by another indexer")
            made |= {(row["study_id"], row["series_instance_uid"]): row["id"] for row in added}
        return made

    @staticmethod
    async def _elsewhere(db: Connection, made: dict[int, Item]) -> list[Disagreement]:
        """Return which of the new series have a UID that an earlier one of another study has."""
        if not made:
            return []
        uids = sorted({item.event.series_instance_uid for item in made.values()})
        rows: list[Any] = await db.fetch(_ELSEWHERE, uids)
        found = []
        for row in rows:
            item = made.get(row["id"])
            if item is None:
                continue
            for other in rows:
                if (
                    other["id"] < row["id"]
                    and other["series_instance_uid"] == row["series_instance_uid"]
                    and other["study_instance_uid"] != row["study_instance_uid"]
                ):
                    first = other["study_id"], other["id"]
                    beside = row["study_id"], row["id"]
                    names = ("StudyInstanceUID",)
                    found.append(Disagreement("series", names, first, beside, item))
                    break
        return found
