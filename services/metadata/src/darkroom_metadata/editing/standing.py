"""What stands of a study's edits, and what its row says with them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import orjson
from pydicom.tag import Tag

from darkroom_common.dicom.json_values import texts
from darkroom_common.index.fields import BY_KEYWORD
from darkroom_common.index.rows import Json
from darkroom_common.postgres.phi import PGP_OPTIONS, BlindIndex, PhiKeys
from darkroom_common.postgres.pool import Connection
from darkroom_metadata.editing.merged import end_merge
from darkroom_metadata.indexing.extract import Extracted, extract

QUALIFIERS: Final = "IssuerOfPatientIDQualifiersSequence"
"""Says more of an issuer, and goes with it."""
IDENTITY: Final = (
    "PatientID",
    "IssuerOfPatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
)
_MOST_BEFORE: Final = 20
_FIND: Final = (  # study_edit_pkey
    "SELECT e.edition, e.edit_id, pgp_sym_decrypt(e.phi, nullif(($1::text[])[e.phi_key], ''))"
    " AS phi FROM index.study_edit e WHERE e.id = $2"
)
_KEEP: Final = (
    "INSERT INTO index.study_edit (id, edition, edit_id, phi, phi_key)"
    " VALUES ($1, $2, $3, pgp_sym_encrypt($4, $5, $7), $6) ON CONFLICT (id) DO UPDATE SET"
    " edition = excluded.edition, edit_id = excluded.edit_id, phi = excluded.phi,"
    " phi_key = excluded.phi_key"
)
_TELL: Final = (
    "INSERT INTO index.study_change (study_instance_uid, by, edit_id, phi, phi_key)"
    " VALUES ($1, $2, $3, pgp_sym_encrypt($4, $5, $7), $6)"
)
_STUDY: Final = (
    "UPDATE index.study SET patient_id = $2, study_date = $3, study_time = $4,"
    " phi = pgp_sym_encrypt($5, $7, $9), phi_key = $8,"
    " blind = ARRAY(SELECT decode(h, 'hex') FROM unnest(string_to_array($6, ',')) AS h),"
    " utc_offset = $10 WHERE id = $1"
)
_PATIENT: Final = (  # patient_patient_key_key
    "INSERT INTO index.patient AS p (patient_key, phi, phi_key, blind)"
    " VALUES ($1, pgp_sym_encrypt($2, $4, $6), $5,"
    "  ARRAY(SELECT decode(h, 'hex') FROM unnest(string_to_array($3, ',')) AS h))"
    " ON CONFLICT (patient_key) DO UPDATE SET updated_at = now(),"
    " phi = CASE WHEN $7 THEN excluded.phi ELSE p.phi END,"
    " phi_key = CASE WHEN $7 THEN excluded.phi_key ELSE p.phi_key END,"
    " blind = CASE WHEN $7 THEN excluded.blind ELSE p.blind END RETURNING id"
)


@dataclass(frozen=True)
class Standing:
    """All edits of a study together.

    Attributes:
        edition: how often it was edited.
        edit_id: the last edit.
        values: text by keyword; None takes the element out.
        before: rows of patients, with the normal texts of the study under them, that it had.
    """

    edition: int = 0
    edit_id: str = ""
    values: Mapping[str, str | None] = field(default_factory=dict)
    before: tuple[tuple[int, dict[str, str]], ...] = ()

    @property
    def by_tag(self) -> dict[int, str | None]:
        """The values as objects are corrected by them."""
        return {int(Tag(keyword)): text for keyword, text in self.values.items()}


@dataclass(frozen=True)
class Said:
    """What one edit says, and who has asked for it."""

    edit_id: str
    by: str
    reason: str
    values: Mapping[str, str | None]


async def find_standing(db: Connection, keys: PhiKeys, study: int) -> Standing:
    """Return what stands of a study's edits."""
    row = await db.fetchrow(_FIND, keys.by_id(), study)
    return Standing() if row is None else standing_of(row["edition"], row["edit_id"], row["phi"])


def standing_of(edition: int, edit_id: str, phi: str) -> Standing:
    """Return what a row of `study_edit` says."""
    known = orjson.loads(phi)
    before = tuple((one["patient"], one["n"]) for one in known["before"])
    return Standing(edition, edit_id, known["values"], before)


@dataclass(frozen=True)
class Rewriting:
    """Brings the row of a study to an edit, in the caller's transaction."""

    keys: PhiKeys
    blind: BlindIndex

    async def write(
        self, db: Connection, row: asyncpg.Record, standing: Standing, said: Said
    ) -> None:
        """Change a study's row, keep what stands from now on, and tell what was before.

        Args:
            db: within the transaction.
            row: of the study: id, study_instance_uid, patient_id, and phi as JSON.
            standing: what stood before.
            said: what is edited, and by whom.
        """
        values = said.values
        known = orjson.loads(row["phi"])
        old: Json = known["j"]
        new = edited(old, values)
        found = extract(new, study_instance_uid=row["study_instance_uid"], blind=self.blind)
        patient = await self._patient(db, found, owns=bool(values.keys() & set(IDENTITY)))
        if values.keys() & {"PatientID", "IssuerOfPatientID"}:
            await end_merge(db, found.patient_key)
        key = self.keys.current_key, self.keys.current, PGP_OPTIONS
        tokens = ",".join(token.hex() for token in found.study.tokens)
        day, moment = found.study_date, found.study_time
        columns = (patient, day, moment, found.study.json, tokens, *key, found.utc_offset)
        await db.execute(_STUDY, row["id"], *columns)
        kept = {"patient": row["patient_id"], "n": _identity(known["n"])}
        before = [{"patient": one, "n": n} for one, n in standing.before]
        if kept not in before:
            before = [kept, *before][:_MOST_BEFORE]
        text = orjson.dumps({"values": {**standing.values, **values}, "before": before}).decode()
        await db.execute(_KEEP, row["id"], standing.edition + 1, said.edit_id, text, *key)
        fields = [
            {"field": keyword, "old": shown(old, keyword), "new": shown(new, keyword)}
            for keyword in values
            if keyword != QUALIFIERS and shown(old, keyword) != shown(new, keyword)
        ]
        if fields:
            told = orjson.dumps({"reason": said.reason, "fields": fields}).decode()
            uid = row["study_instance_uid"]
            await db.execute(_TELL, uid, said.by, said.edit_id, told, *key)

    async def _patient(self, db: Connection, found: Extracted, *, owns: bool) -> int:
        """Return the row of the patient; it says from now on what the edit says, if `owns`."""
        tokens = ",".join(token.hex() for token in found.patient.tokens)
        key = self.keys.current_key, self.keys.current, PGP_OPTIONS
        number: int = await db.fetchval(
            _PATIENT, found.patient_key, found.patient.json, tokens, *key, owns
        )
        return number


def edited(attributes: Json, values: Mapping[str, str | None]) -> Json:
    """Return DICOM JSON with other values of some attributes."""
    new = dict(attributes)
    for keyword, text in values.items():
        of = BY_KEYWORD[keyword]
        new.pop(of.tag, None)
        if text is not None:
            new[of.tag] = _element(of.vr, text)
    return dict(sorted(new.items()))


def _element(vr: str, text: str) -> dict[str, Any]:
    if not text:
        return {"vr": vr}
    if vr != "PN":
        return {"vr": vr, "Value": [text]}
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), text.split("="), strict=False)
    return {"vr": vr, "Value": [{name: group for name, group in groups if group}]}


def shown(attributes: Json, keyword: str) -> str:
    """Return the text of an attribute, values separated by backslashes."""
    return "\\".join(texts(attributes.get(BY_KEYWORD[keyword].tag)))


def _identity(normal: dict[str, str]) -> dict[str, str]:
    return {name: normal[name] for name in IDENTITY if name in normal}
