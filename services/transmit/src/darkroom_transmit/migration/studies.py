"""The rows of studies and objects of a migration: whatever is counted is counted with its row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from darkroom_common.postgres.pool import Connection
from darkroom_common.seal import Seal
from darkroom_common.specs.remote import FirstOrder
from darkroom_transmit.migration.files import NOT_DICOM, FoundFile
from darkroom_transmit.migration.repository import CURSOR, LOCATION, PATIENT
from darkroom_transmit.migration.source import Found, Listed, Receipt, Wanted

_WARNINGS: Final = range(0xB000, 0xC000)
"""PS3.7 annex C.3: it is stored."""
_LATER: Final = range(0xA700, 0xA800)
"""Out of resources."""
MOST_TRIES: Final = 6
"""Of a study, until what has not come of it is missing."""
_ADD: Final = (
    "INSERT INTO transmit.migration_study (migration_id, study_instance_uid, study_date, told,"
    " patient, asked_at, asked_by) SELECT $1, uid, day, told, patient,"
    " CASE WHEN $6::text <> '' THEN now() END, $6"
    " FROM unnest($2::text[], $3::date[], $4::integer[], $5::text[]) AS t (uid, day, told, patient)"
    " ON CONFLICT (migration_id, study_instance_uid) DO {conflict}"
)
_NOTHING: Final = "NOTHING"
_ASKED: Final = (
    "UPDATE SET asked_at = coalesce(migration_study.asked_at, now()), asked_by = $6"
    " RETURNING (xmax = 0) AS new, state"
)
_LISTED: Final = (
    "UPDATE transmit.migration SET studies = studies + $2, objects = objects + $3,"
    " passed_over = passed_over + $4, cursor = CASE WHEN $5 = '' THEN cursor ELSE $5 END,"
    " updated_at = now() WHERE id = $1"
)
_ADD_FILES: Final = (
    "INSERT INTO transmit.migration_object (migration_id, study_instance_uid, series_instance_uid,"
    " sop_class_uid, sop_instance_uid, location, outcome, reason) SELECT $1, t.* FROM"
    " unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])"
    " AS t"
)
_ADD_OBJECTS: Final = (
    "INSERT INTO transmit.migration_object (migration_id, study_instance_uid, series_instance_uid,"
    " sop_class_uid, sop_instance_uid) SELECT $1, $2, t.* FROM"
    " unnest($3::text[], $4::text[], $5::text[]) AS t ON CONFLICT DO NOTHING"
)
_KNOWN: Final = (
    "SELECT study_instance_uid FROM transmit.migration_study WHERE migration_id = $1"
    " AND study_instance_uid = ANY($2::text[])"
)
_PATIENTS: Final = (
    "SELECT study_instance_uid, patient FROM transmit.migration_study WHERE migration_id = $1"
    " AND state = 'WAITING' AND patient <> ''"
)
_WANTED: Final = (
    "SELECT id, series_instance_uid, sop_class_uid, sop_instance_uid, location"
    " FROM transmit.migration_object WHERE migration_id = $1 AND study_instance_uid = $2"
    " AND outcome = '' ORDER BY id"
)
_NEXT: Final = (  # migration_study_next, migration_study_asked
    "SELECT study_instance_uid, asked_at IS NOT NULL AS asked, tries FROM transmit.migration_study"
    " WHERE migration_id = $1 AND state = 'WAITING' AND next_at <= now()"
    " AND NOT study_instance_uid = ANY($2::text[]){only}"
    " ORDER BY {asked}study_date DESC NULLS LAST, id LIMIT 1"
)
_RECEIVED: Final = (
    "UPDATE transmit.migration_object o SET outcome = t.outcome, reason = t.reason,"
    " status = t.status, sha256 = t.sha256, size = t.size FROM"
    " unnest($1::bigint[], $2::text[], $3::text[], $4::integer[], $5::bytea[], $6::bigint[])"
    " AS t (id, outcome, reason, status, sha256, size)"
    " WHERE o.id = t.id AND o.outcome = '' RETURNING o.outcome, o.size"
)
_RECEIVED_SO_FAR: Final = (
    "UPDATE transmit.migration SET received = received + $2, bytes = bytes + $3,"
    " updated_at = now() WHERE id = $1"
)
_COPIED: Final = (
    "UPDATE transmit.migration_study SET state = 'COPIED', copied_at = now(), reason = $3"
    " WHERE migration_id = $1 AND study_instance_uid = $2 AND state = 'WAITING'"
)
_AGAIN: Final = (
    "UPDATE transmit.migration_study SET state = 'WAITING', tries = tries + 1, reason = $3,"
    " next_at = now() + make_interval(secs => least(600, power(2, tries)))"
    " WHERE migration_id = $1 AND study_instance_uid = $2 AND state <> 'DONE' RETURNING tries"
)
_GIVEN_UP: Final = (
    "UPDATE transmit.migration_object SET outcome = 'missing', reason = $3"
    " WHERE migration_id = $1 AND study_instance_uid = $2 AND outcome = ''"
)


class Next(NamedTuple):
    """A study that is to come now. `asked`: somebody waits for it."""

    study: str
    asked: bool
    tries: int


@dataclass(frozen=True)
class Studies:
    """Reads and writes the rows of one migration. Each call is within the caller's transaction."""

    migration: str
    seal: Seal

    async def add(
        self, db: Connection, found: Sequence[Found], *, cursor: Any = None, by: str = ""
    ) -> int:
        """Keep studies that are not known yet; return how many those are.

        Args:
            db: within a transaction.
            found: the studies.
            cursor: how far the source is listed with them.
            by: who wants them first; empty: nobody.
        """
        unique = list({one.study_instance_uid: one for one in found}.values())
        values = (
            [one.study_instance_uid for one in unique],
            [one.study_date for one in unique],
            [one.told for one in unique],
            [""] * len(unique),  # such an archive can be asked for a patient
            by,
        )
        new = 0
        if unique and by:
            rows = await db.fetch(_ADD.format(conflict=_ASKED), self.migration, *values)
            new = sum(row["new"] for row in rows)
        elif unique:
            tag = await db.execute(_ADD.format(conflict=_NOTHING), self.migration, *values)
            new = int(tag.rpartition(" ")[2])
        sealed = "" if cursor is None else self.seal.seal(cursor, purpose=CURSOR)
        await db.execute(_LISTED, self.migration, new, 0, 0, sealed)
        return new

    async def known(self, db: Connection, order: FirstOrder) -> list[Found]:
        """Return the studies of files that are meant, as far as they are listed."""
        if not order.patient_id:
            rows = await db.fetch(_KNOWN, self.migration, list(order.studies))
            return [Found(row[0]) for row in rows]
        rows = await db.fetch(_PATIENTS, self.migration)
        return [
            Found(uid)
            for uid, sealed in rows
            if self.seal.open(sealed, purpose=PATIENT) == order.patient_id.strip()
        ]

    def _sealed(self, text: str, purpose: str) -> str:
        return self.seal.seal(text, purpose=purpose) if text else ""

    async def add_files(self, db: Connection, found: Sequence[FoundFile], cursor: Any) -> None:
        """Keep files and their studies; a file that cannot be read is refused at once."""
        files = [one for one in found if one.problem != NOT_DICOM]
        studies = list({one.found.study_instance_uid: one.found for one in files}.values())
        tag = await db.execute(
            _ADD.format(conflict=_NOTHING),
            self.migration,
            [one.study_instance_uid for one in studies],
            [one.study_date for one in studies],
            [one.told for one in studies],
            [self._sealed(one.patient_id, PATIENT) for one in studies],
            "",
        )
        new = int(tag.rpartition(" ")[2])
        outcomes = ["" if not one.problem else _of_problem(one.problem) for one in files]
        await db.execute(
            _ADD_FILES,
            self.migration,
            [one.found.study_instance_uid for one in files],
            [one.listed.series_instance_uid for one in files],
            [one.listed.sop_class_uid for one in files],
            [one.listed.sop_instance_uid for one in files],
            [self._sealed(one.path, LOCATION) for one in files],
            outcomes,
            [one.problem for one in files],
        )
        sealed = self.seal.seal(cursor, purpose=CURSOR)
        passed = len(found) - len(files)
        await db.execute(_LISTED, self.migration, new, len(files), passed, sealed)

    async def add_objects(self, db: Connection, study: str, listed: Sequence[Listed]) -> None:
        """Keep what the source has of a study."""
        tag = await db.execute(
            _ADD_OBJECTS,
            self.migration,
            study,
            [one.series_instance_uid for one in listed],
            [one.sop_class_uid for one in listed],
            [one.sop_instance_uid for one in listed],
        )
        await db.execute(_LISTED, self.migration, 0, int(tag.rpartition(" ")[2]), 0, "")

    async def next(self, db: Connection, in_hand: Sequence[str], *, asked: bool) -> Next | None:
        """Return the study that comes next: what is asked for, then the newest.

        Args:
            db: to look with.
            in_hand: those that are under way.
            asked: only one that somebody waits for.
        """
        for only in (True,) if asked else (True, False):
            words = (" AND asked_at IS NOT NULL", "asked_at, ") if only else ("", "")
            statement = _NEXT.format(only=words[0], asked=words[1])
            row = await db.fetchrow(statement, self.migration, list(in_hand))
            if row is not None:
                return Next(*row)
        return None

    async def wanted(self, db: Connection, study: str) -> list[Wanted]:
        """Return what has not come of a study."""
        rows = await db.fetch(_WANTED, self.migration, study)
        return [Wanted(*row)._replace(location=self._opened(row["location"])) for row in rows]

    def _opened(self, text: str) -> str:
        return str(self.seal.open(text, purpose=LOCATION)) if text else ""

    async def received(self, db: Connection, receipts: Sequence[Receipt]) -> int:
        """Keep what has become of objects; return how many were new."""
        rows = [(one, *outcome_of(one)) for one in receipts]
        rows = [one for one in rows if one[1]]
        written = await db.fetch(
            _RECEIVED,
            [one.id for one, _, _ in rows],
            [outcome for _, outcome, _ in rows],
            [reason for _, _, reason in rows],
            [one.status or None for one, _, _ in rows],
            [one.sha256 for one, _, _ in rows],
            [one.size for one, _, _ in rows],
        )
        came = [row["size"] or 0 for row in written if row["outcome"] == "received"]
        if came:
            await db.execute(_RECEIVED_SO_FAR, self.migration, len(came), sum(came))
        return len(written)

    async def copied(self, db: Connection, study: str, reason: str = "") -> None:
        """Say that all of a study has come that will come."""
        await db.execute(_COPIED, self.migration, study, reason)

    async def again(self, db: Connection, study: str, reason: str) -> None:
        """Have a study tried again later, or take what has not come for missing."""
        tries = await db.fetchval(_AGAIN, self.migration, study, reason)
        if tries is not None and tries >= MOST_TRIES:
            await db.execute(_GIVEN_UP, self.migration, study, reason)
            await self.copied(db, study, reason)


def _of_problem(problem: str) -> str:
    return "missing" if problem == "NotOnMedium" else "refused"


def outcome_of(one: Receipt) -> tuple[str, str]:
    """Return what a receipt says of its object, and why; nothing: it is to be tried again."""
    if one.reason:
        return "refused", one.reason
    if one.status in (0, *_WARNINGS):
        return "received", ""
    if one.status in _LATER:
        return "", ""
    return "refused", f"Status{one.status:04X}"
