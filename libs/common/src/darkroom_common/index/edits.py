"""Readers of schema `index` for edits and removals: jobs, what was changed, and how often."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from darkroom_common.postgres.pool import Connection, the_row

EDITS: Final = (
    "SELECT id AS job_id, action, study_instance_uid, state, reason, studies, instances, attempts,"
    " requested_by, CASE WHEN state IN ('PENDING', 'RETRYING') THEN next_at END AS next_at,"
    " created_at, updated_at, finished_at FROM index.edit WHERE action <> 'follow'"
)
REMOVALS: Final = (
    "SELECT id AS job_id, action, study_instance_uid, series_instance_uid, sop_instance_uid,"
    " state, reason, attempts, requested_by, rule, purge_after, purged_at, restored_at,"
    " CASE WHEN state IN ('PENDING', 'RETRYING') THEN next_at END AS next_at,"
    " created_at, updated_at, finished_at FROM index.removal"
)
_CHANGES: Final = (  # study_change_study
    "SELECT at, by, pgp_sym_decrypt(phi, coalesce(($2::text[])[phi_key], '')) AS phi"
    " FROM index.study_change WHERE study_instance_uid = $1 ORDER BY id DESC LIMIT $3"
)
_EDITION: Final = (  # study_study_instance_uid_key, study_edit_pkey
    "SELECT count(*) AS studies, coalesce(sum(e.edition), 0)::bigint AS edition"
    " FROM index.study s LEFT JOIN index.study_edit e ON e.id = s.id"
    " WHERE s.study_instance_uid = $1 AND s.status <> 'deleted'"
)


@dataclass(frozen=True, slots=True)
class Changed:
    """One attribute that somebody has changed. The values and the reason are PHI."""

    at: dt.datetime
    by: str
    field: str
    old: str
    new: str
    reason: str


async def changes_of(
    db: Connection, passphrases: Sequence[str], study: str, *, limit: int = 100
) -> list[Changed]:
    """Return what the newest edits of a study have changed, the newest first."""
    found = []
    for at, by, phi in await db.fetch(_CHANGES, study, list(passphrases), limit):
        told = orjson.loads(phi)
        found += [Changed(at, by, reason=told["reason"], **one) for one in told["fields"]]
    return found


async def edition_of(db: Connection, study: str) -> tuple[int, int]:
    """Return how many studies a UID stands for, and how often they were edited."""
    row = the_row(await db.fetchrow(_EDITION, study))
    return row["studies"], row["edition"]
