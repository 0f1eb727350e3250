"""Reads schema `transmit`: migrations, and what each has come to (STO-06)."""

from collections.abc import AsyncIterator
from typing import Final, NamedTuple

import asyncpg

from darkroom_common.postgres.pool import Database

MIGRATIONS: Final = (
    "SELECT id AS job_id, source, spec ->> 'way' AS way, state, reason, listed, undated, studies,"
    " studies_done, objects, received, bytes, there, missing, differing, refused, passed_over,"
    " at_work, attempts, requested_by,"
    " CASE WHEN state IN ('PENDING', 'RETRYING') THEN next_at END AS next_at,"
    " created_at, updated_at, finished_at FROM transmit.migration"
)
_STUDIES: Final = (
    "SELECT id, study_instance_uid, study_date, state, told, objects, there, missing, differing,"
    " refused, reason, encode(digest, 'hex') AS digest FROM transmit.migration_study"
    " WHERE migration_id = $1 AND id > $2 ORDER BY id LIMIT $3"
)
_OBJECTS: Final = (
    "SELECT study_instance_uid, sop_instance_uid, outcome, reason, location"
    " FROM transmit.migration_object WHERE migration_id = $1"
    " AND study_instance_uid = ANY($2::text[]) AND outcome IN ('missing', 'differing', 'refused')"
    " ORDER BY study_instance_uid, id"
)
_AT_ONCE: Final = 500
TITLES: Final = (
    *("study", "study date", "object", "outcome", "told by the source", "objects", "there"),
    *("missing", "differing", "refused", "reason", "digest"),
)


class Line(NamedTuple):
    """A line of the reconciliation report: of a study, or of an object that is not there.

    Attributes:
        outcome: of an object; of a study `there` when all of it is, `not all there`, or `waiting`.
        told: Number of Study Related Instances (0020,1208), as the source has told it.
        digest: SHA-256 of the sorted lines "UID digest" of what is there of a study.
        location: the sealed path of a file.
    """

    study: str
    study_date: str
    sop_instance_uid: str
    outcome: str
    told: int | None
    objects: int | None
    there: int | None
    missing: int | None
    differing: int | None
    refused: int | None
    reason: str
    digest: str
    location: str = ""


async def report(
    database: Database, migration: str, *, exceptions: bool = False
) -> AsyncIterator[Line]:
    """Yield the lines of a report: each study, and behind it what is not there of it.

    Args:
        database: to read with; no connection is held between two pages.
        migration: its job's id.
        exceptions: leave out studies that are there.
    """
    behind = 0
    while True:
        objects: dict[str, list[asyncpg.Record]] = {}
        async with database.acquire() as db:
            rows = await db.fetch(_STUDIES, migration, behind, _AT_ONCE)
            some = [row["study_instance_uid"] for row in rows]
            for one in await db.fetch(_OBJECTS, migration, some):
                objects.setdefault(one["study_instance_uid"], []).append(one)
        if not rows:
            return
        behind = rows[-1]["id"]
        for row in rows:
            line = _study(row)
            if exceptions and line.outcome == "there" and not line.reason:
                continue
            yield line
            for one in objects.get(row["study_instance_uid"], ()):
                yield _object(one)


def _study(row: asyncpg.Record) -> Line:
    done = row["state"] == "DONE"
    whole = done and row["there"] == row["objects"] and not row["missing"]
    return Line(
        row["study_instance_uid"],
        f"{row['study_date']:%Y-%m-%d}" if row["study_date"] else "",
        "",
        "there" if whole else "not all there" if done else "waiting",
        row["told"],
        row["objects"] if done else None,
        row["there"] if done else None,
        row["missing"] if done else None,
        row["differing"] if done else None,
        row["refused"] if done else None,
        row["reason"],
        row["digest"] or "",
    )


def _object(row: asyncpg.Record) -> Line:
    return Line(
        row["study_instance_uid"],
        "",
        row["sop_instance_uid"],
        row["outcome"],
        None,
        None,
        None,
        None,
        None,
        None,
        row["reason"],
        "",
        row["location"],
    )
