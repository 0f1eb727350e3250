"""Studies by the names that people use: the accession number or the StudyInstanceUID."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from darkroom_common.index.fields import BY_KEYWORD
from darkroom_common.postgres.phi import BlindIndex, PhiKeys, normalise
from darkroom_common.postgres.pool import Connection

LONGEST: Final = 64
"""Characters of a StudyInstanceUID; an accession number has 16 (PS3.5 section 6.2)."""
_ACCESSION: Final = "AccessionNumber"
_EACH: Final = 20
"""Studies of one name that are looked at."""
_NAMED: Final = (  # study_study_instance_uid_key, study_search, and the same of study_beside
    "WITH hit AS MATERIALIZED (SELECT s.id FROM index.study s WHERE s.status <> 'deleted'"
    "  AND (s.study_instance_uid = ANY($3::text[]) OR s.blind && $4::bytea[]))"
    " SELECT s.study_instance_uid, coalesce(pgp_sym_decrypt(s.phi,"
    "  coalesce(($1::text[])[s.phi_key], ''))::jsonb -> 'j' -> $2 -> 'Value' ->> 0, '')"
    " FROM (SELECT id FROM hit ORDER BY id LIMIT $5) AS f JOIN index.study s ON s.id = f.id"
    " ORDER BY s.id"
)


@dataclass(frozen=True, slots=True)
class StudyName:
    """A study by both of its names; the accession number is PHI, and may be empty."""

    study_instance_uid: str
    accession_number: str


async def studies_named(
    db: Connection, keys: PhiKeys, blind: BlindIndex, names: Sequence[str]
) -> dict[str, list[StudyName]]:
    """Return the studies that each name stands for, each UID once; of none, an empty list.

    Several studies have one accession number when a request has made several, or by mistake. Of
    those that are alike but for case and width, what is written just so is meant.
    """
    normal = {name: normalise(name) for name in names if len(name) <= LONGEST}
    tokens = [blind.token(_ACCESSION, "value", text) for text in set(normal.values()) if text]
    tag = BY_KEYWORD[_ACCESSION].tag
    most = _EACH * len(normal)
    rows = await db.fetch(_NAMED, keys.by_id(), tag, list(normal), tokens, most)
    if len(rows) == most and len(names) > 1:  # of one name there are very many: who is left out?
        half = len(names) // 2
        first = await studies_named(db, keys, blind, names[:half])
        return first | await studies_named(db, keys, blind, names[half:])
    by_uid: dict[str, dict[str, StudyName]] = {}
    by_number: dict[str, dict[str, StudyName]] = {}
    for row in rows:
        found = StudyName(*row)
        by_uid.setdefault(found.study_instance_uid, {found.study_instance_uid: found})
        number = normalise(found.accession_number)
        by_number.setdefault(number, {}).setdefault(found.study_instance_uid, found)
    meant: dict[str, list[StudyName]] = {name: [] for name in names}
    for name, text in normal.items():
        alike = by_number.get(text, {}) if text else {}
        exact = {uid: one for uid, one in alike.items() if one.accession_number == name}
        meant[name] = list({**(exact or alike), **by_uid.get(name, {})}.values())
    return meant
