"""What people say of a study as an examination: its work status and its assigned physician.

`api.examination` has a row of each study that anything was said of. Whoever changes many does it
in one transaction of their own, and learns of each what has become of it.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import asyncpg
from pydantic import StringConstraints

from darkroom_api.http.errors import ApiError, Code
from darkroom_api.studies.named import only
from darkroom_common.index.fields import PHYSICIAN, search_tokens
from darkroom_common.index.identity import StudyName, studies_named
from darkroom_common.index.rows import FIRST_SERIES, ORDERED, UnreadableRow, institution_in
from darkroom_common.postgres.phi import PGP_OPTIONS, BlindIndex, PhiKeys
from darkroom_common.postgres.pool import Connection, the_row

ExamStatus = Literal["pending", "in_progress", "completed", "cancelled"]
PhysicianName = Annotated[
    str, StringConstraints(max_length=64, strip_whitespace=True, pattern=r"^[^\x00-\x1f\x7f\\]*$")
]
"""A PN value in one group, as people write it; nothing: nobody is assigned."""
MOST: Final = 500
"""Studies in one transaction, so that no lock is held for long."""
_ADD: Final = (
    "INSERT INTO api.examination (study_instance_uid, version)"
    " SELECT uid, 0 FROM unnest($1::text[]) AS given (uid) ORDER BY uid ON CONFLICT DO NOTHING"
)
_LOCK: Final = (  # examination_pkey; in order, so that no two wait for each other
    "SELECT study_instance_uid, version FROM api.examination"
    " WHERE study_instance_uid = ANY($1::text[]) ORDER BY study_instance_uid FOR UPDATE"
)
_BEFORE: Final = (  # examination_pkey
    "SELECT study_instance_uid FROM api.examination WHERE study_instance_uid = ANY($1::text[])"
    " AND exam_status = ANY($2::text[]) ORDER BY study_instance_uid FOR UPDATE"
)
_EARLIER: Final[dict[ExamStatus, tuple[ExamStatus, ...]]] = {
    "pending": (),
    "in_progress": ("pending",),
    "completed": ("pending", "in_progress"),
    "cancelled": ("pending", "in_progress"),
}
"""The work status from which a modality's word leads to another one."""
_SET_STATUS: Final = (
    "WITH changed AS (UPDATE api.examination e SET exam_status = $2, version = e.version + 1,"
    " updated_at = clock_timestamp() FROM (SELECT study_instance_uid, exam_status"
    "  FROM api.examination WHERE study_instance_uid = ANY($1::text[])) AS o"
    " WHERE e.study_instance_uid = o.study_instance_uid AND o.exam_status <> $2"
    " RETURNING e.study_instance_uid, o.exam_status AS old)"
    " INSERT INTO api.examination_change (study_instance_uid, by, field, old, old_key, new,"
    " new_key, reason, reason_key) SELECT study_instance_uid, $3, 'exam_status',"
    " pgp_sym_encrypt(old, $5, $7), $6, pgp_sym_encrypt($2, $5, $7), $6,"
    " CASE WHEN $4 <> '' THEN pgp_sym_encrypt($4, $5, $7) END,"
    " CASE WHEN $4 <> '' THEN $6::smallint END FROM changed RETURNING study_instance_uid"
)
_ASSIGN: Final = (
    "WITH changed AS (UPDATE api.examination e SET version = e.version + 1,"
    " updated_at = clock_timestamp(),"
    " physician = CASE WHEN $2 <> '' THEN pgp_sym_encrypt($2, $5, $7) END,"
    " phi_key = CASE WHEN $2 <> '' THEN $6::smallint END, physician_key = $8, blind = $9"
    " FROM (SELECT study_instance_uid, physician, phi_key FROM api.examination"
    "  WHERE study_instance_uid = ANY($1::text[])) AS o"
    " WHERE e.study_instance_uid = o.study_instance_uid AND coalesce(pgp_sym_decrypt(o.physician,"
    "  coalesce(($10::text[])[o.phi_key], '')), '') <> $2"
    " RETURNING e.study_instance_uid, o.physician AS old, o.phi_key AS old_key,"
    " e.physician AS new, e.phi_key AS new_key)"
    " INSERT INTO api.examination_change (study_instance_uid, by, field, old, old_key, new,"
    " new_key, reason, reason_key) SELECT study_instance_uid, $3, 'physician_name', old, old_key,"
    " new, new_key, CASE WHEN $4 <> '' THEN pgp_sym_encrypt($4, $5, $7) END,"
    " CASE WHEN $4 <> '' THEN $6::smallint END FROM changed RETURNING study_instance_uid"
)
_TOUCH: Final = (
    "UPDATE api.examination SET version = version + 1, updated_at = clock_timestamp()"
    " WHERE study_instance_uid = $1"
)
_EXAM: Final = (  # examination_pkey
    "SELECT asked.uid, coalesce(x.exam_status, 'pending'), coalesce(pgp_sym_decrypt(x.physician,"
    " coalesce(($2::text[])[x.phi_key], '')), ''), coalesce(x.version, 0), {ordered}{more}"
    " FROM unnest($1::text[]) AS asked (uid)"
    " LEFT JOIN api.examination x ON x.study_instance_uid = asked.uid"
)
_ORDERED: Final = ORDERED.format(uid="asked.uid")
_FIND: Final = _EXAM.format(ordered=_ORDERED, more="")
_WITH_SERIES: Final = _EXAM.format(
    ordered=_ORDERED, more=", " + FIRST_SERIES.format(keys="$2::text[]", uid="asked.uid")
)
_HISTORY: Final = (  # examination_change_study
    "SELECT at, by, field,"
    " coalesce(pgp_sym_decrypt(old, coalesce(($2::text[])[old_key], '')), '') AS old,"
    " coalesce(pgp_sym_decrypt(new, coalesce(($2::text[])[new_key], '')), '') AS new,"
    " coalesce(pgp_sym_decrypt(reason, coalesce(($2::text[])[reason_key], '')), '') AS reason"
    " FROM api.examination_change WHERE study_instance_uid = $1 ORDER BY id DESC LIMIT $3"
)

# examination_physician: each step asks for the first token behind the last
_KEYS: Final = (
    "WITH RECURSIVE keys AS ((SELECT physician_key AS kept FROM api.examination"
    "  WHERE physician_key IS NOT NULL ORDER BY physician_key LIMIT 1)"
    " UNION ALL SELECT (SELECT x.physician_key FROM api.examination x"
    "  WHERE x.physician_key > keys.kept ORDER BY x.physician_key LIMIT 1) FROM keys"
    "  WHERE keys.kept IS NOT NULL) {}"
)
_PHYSICIANS: Final = _KEYS.format(
    "SELECT pgp_sym_decrypt(one.physician, coalesce(($1::text[])[one.phi_key], ''))"
    " AS name FROM (SELECT kept FROM keys WHERE kept IS NOT NULL LIMIT 1000) AS found"
    " CROSS JOIN LATERAL (SELECT x.physician, x.phi_key FROM api.examination x"
    "  WHERE x.physician_key = found.kept LIMIT 1) AS one ORDER BY name"
)
_NAMED: Final = _KEYS.format(
    "SELECT kept FROM keys CROSS JOIN LATERAL (SELECT x.blind FROM api.examination x"
    "  WHERE x.physician_key = keys.kept LIMIT 1) AS one WHERE one.blind @> $1::bytea[]"
)


@dataclass(frozen=True, slots=True)
class Examination:
    """What was said of a study. A study that nothing was said of has version 0.

    Attributes:
        ordered_at: as the worklist has it; None: it has no entry of the study.
    """

    exam_status: ExamStatus
    physician_name: str
    version: int
    ordered_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Change:
    """One change, with what was there before. The values are PHI."""

    at: dt.datetime
    by: str
    field: str
    old: str
    new: str
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """An item that was not changed, and why; the text holds no value."""

    exam_id: str
    code: int
    message: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has become of many.

    Attributes:
        done: the studies that are now as asked, by the names that were given; also those that
            were so before.
        changed: StudyInstanceUIDs of what was otherwise before.
        failed: in the order that they were given.
    """

    done: dict[str, StudyName]
    changed: frozenset[str]
    failed: list[Failed]


@dataclass(frozen=True)
class Examinations:
    """Reads and writes `api.examination`, in the caller's transaction."""

    keys: PhiKeys
    blind: BlindIndex

    async def set_status(
        self, db: Connection, exam_ids: Sequence[str], status: ExamStatus, *, by: str, reason: str
    ) -> Outcome:
        """Set the work status of at most `MOST` studies; what cannot be set is told."""
        done, failed = await self._meant(db, exam_ids)
        uids = await self.lock(db, done.values())
        rows = await db.fetch(_SET_STATUS, uids, status, by, reason, *self._key)
        return Outcome(done, frozenset(row[0] for row in rows), failed)

    async def follow(
        self, db: Connection, studies: Sequence[str], status: ExamStatus, *, by: str
    ) -> None:
        """Set the work status of studies, also of those to come, unless they are further on."""
        uids = sorted(set(studies))
        await db.execute(_ADD, uids)
        rows = await db.fetch(_BEFORE, uids, list(_EARLIER[status]))
        due = [row["study_instance_uid"] for row in rows]
        await db.fetch(_SET_STATUS, due, status, by, "", *self._key)

    async def assign(
        self, db: Connection, exam_ids: Sequence[str], name: str, *, by: str, reason: str = ""
    ) -> Outcome:
        """Assign a physician to at most `MOST` studies, or with an empty name nobody."""
        done, failed = await self._meant(db, exam_ids)
        uids = await self.lock(db, done.values())
        tokens = sorted(search_tokens(self.blind, PHYSICIAN, [name]))
        whole = self.blind.exact(PHYSICIAN.keyword, name) if name else None
        bound = (*self._key, whole, tokens, self.keys.by_id())
        rows = await db.fetch(_ASSIGN, uids, name, by, reason, *bound)
        return Outcome(done, frozenset(row[0] for row in rows), failed)

    async def lock(self, db: Connection, studies: Iterable[StudyName]) -> list[str]:
        """Let nobody else change what is said of these; return their UIDs, in order."""
        uids = sorted({one.study_instance_uid for one in studies})
        await db.execute(_ADD, uids)
        await db.fetch(_LOCK, uids)
        return uids

    async def touch(self, db: Connection, study: str) -> None:
        """Let the version grow: something that is not ours is going to change."""
        await db.execute(_TOUCH, study)

    async def find(self, db: Connection, study: str) -> Examination:
        """Return what was said of a study, and when it was ordered."""
        row = the_row(await db.fetchrow(_FIND, [study], self.keys.by_id()))
        return Examination(*row[1:])

    async def shown(
        self, db: Connection, studies: Sequence[str]
    ) -> dict[str, tuple[Examination, str]]:
        """Return the same of several, by UID, each with the institution of its first series.

        Raises:
            UnreadableRow: PHI_KEYS does not hold a row's key.
        """
        try:
            rows = await db.fetch(_WITH_SERIES, list(studies), self.keys.by_id())
        except asyncpg.ExternalRoutineInvocationError as error:
            raise UnreadableRow("a row cannot be decrypted with PHI_KEYS") from error
        found = {}
        for uid, *exam, series in rows:
            institution = "" if series is None else institution_in(series)  # there is none
            found[uid] = Examination(*exam), institution
        return found

    async def history(self, db: Connection, study: str, *, limit: int = 100) -> list[Change]:
        """Return the newest changes of a study, the newest first."""
        rows = await db.fetch(_HISTORY, study, self.keys.by_id(), limit)
        return [Change(*row) for row in rows]

    async def physicians(self, db: Connection) -> list[str]:
        """Return who is assigned to anything, up to 1000, sorted."""
        return [row[0] for row in await db.fetch(_PHYSICIANS, self.keys.by_id())]

    async def physicians_named(self, db: Connection, words: Sequence[str]) -> list[bytes]:
        """Return the tokens of those who are assigned to anything and have all of these words.

        Args:
            db: where.
            words: beginnings of words, normalised.
        """
        tokens = [self.blind.prefix(PHYSICIAN.keyword, word) for word in words]
        return [row[0] for row in await db.fetch(_NAMED, tokens)]

    @property
    def _key(self) -> tuple[str, int, str]:
        return self.keys.current_key, self.keys.current, PGP_OPTIONS

    async def _meant(
        self, db: Connection, exam_ids: Sequence[str]
    ) -> tuple[dict[str, StudyName], list[Failed]]:
        done: dict[str, StudyName] = {}
        failed: list[Failed] = []
        found = await studies_named(db, self.keys, self.blind, exam_ids)
        for exam_id in dict.fromkeys(exam_ids):
            try:
                done[exam_id] = only(found[exam_id])
            except ApiError as error:
                failed.append(Failed(exam_id, Code.BULK_OPERATION_FAILED, error.detail))
        return done, failed
