"""Reads schema `transmit`: jobs, retrieve jobs, procedure steps."""

from typing import Final

import asyncpg

from darkroom_common.postgres.pool import Connection

SENDS: Final = (
    "SELECT id AS job_id, destination, state, reason, priority, study_instance_uid,"
    " series_instance_uid, requested_by, rule, total, sent, failed, warned, attempts,"
    " CASE WHEN state IN ('PENDING', 'RETRYING') THEN next_at END AS next_at,"
    " created_at, updated_at, finished_at FROM transmit.job"
)
SENT_INSTANCES: Final = (
    "SELECT job_id, position, sop_instance_uid, state, status, reason, tries, transfer_syntax_uid,"
    " updated_at FROM transmit.job_instance"
)
RETRIEVES: Final = (
    "SELECT id AS job_id, remote, method, state, reason, status, study_instance_uid,"
    " series_instance_uid, remaining, completed, failed, warned, attempts, rule, prior_of,"
    " requested_by, CASE WHEN state IN ('PENDING', 'RETRYING') THEN next_at END AS next_at,"
    " created_at, updated_at, finished_at FROM transmit.retrieve"
)
STEPS: Final = (
    "SELECT sop_instance_uid, remote, state, reason, status, requested_by, created_at, updated_at"
    " FROM transmit.procedure_step"
)
ERRORS: Final = """
    SELECT 'transmit_job' AS kind, id AS error_id, coalesce(finished_at, updated_at) AS at, reason,
        destination AS subject FROM transmit.job
    WHERE state = 'FAILED' AND coalesce(finished_at, updated_at) >= $1
        AND coalesce(finished_at, updated_at) < $2
    UNION ALL SELECT 'retrieve_job', id, coalesce(finished_at, updated_at), reason, remote
    FROM transmit.retrieve
    WHERE state = 'FAILED' AND coalesce(finished_at, updated_at) >= $1
        AND coalesce(finished_at, updated_at) < $2
    UNION ALL SELECT 'procedure_step', sop_instance_uid, updated_at, reason, remote
    FROM transmit.procedure_step WHERE reason <> '' AND updated_at >= $1 AND updated_at < $2
"""
"""From $1 until $2, as the error report has it."""
_SENDS_OF: Final = (  # job_study
    "SELECT id AS job_id, destination, state, sent, created_at, finished_at FROM transmit.job"
    " WHERE study_instance_uid = $1 ORDER BY created_at DESC LIMIT 100"
)
_ATTEMPTS: Final = (
    "SELECT number, began_at, ended_at, outcome, reason, sent, failed, next_at"
    " FROM transmit.attempt WHERE job_id = $1 ORDER BY number DESC LIMIT 100"
)
_STEP: Final = (
    "SELECT sop_instance_uid, remote, state, reason, status, requested_by, created_at, updated_at,"
    " sealed FROM transmit.procedure_step WHERE sop_instance_uid = $1"
)
_KIND: Final = (
    "SELECT coalesce(spec ->> 'kind', 'dimse') AS kind, id FROM transmit.destination"
    " WHERE name = $1"
)


async def destination_known(db: Connection, name: str) -> tuple[str, str] | None:
    """Return how a destination is spoken to, `dimse` or `stow`, and its id; None without one."""
    row = await db.fetchrow(_KIND, name)
    return None if row is None else (row["kind"], row["id"])


async def sends_of(db: Connection, study: str) -> list[asyncpg.Record]:
    """Return the newest 100 jobs that send a study or a part of it, the newest first."""
    return list(await db.fetch(_SENDS_OF, study))


async def attempts(db: Connection, job_id: str) -> list[asyncpg.Record]:
    """Return the newest 100 attempts of a job, the oldest first."""
    return list(reversed(await db.fetch(_ATTEMPTS, job_id)))


async def procedure_step(db: Connection, sop_instance_uid: str) -> asyncpg.Record | None:
    """Return a procedure step with its attributes, which are sealed."""
    return await db.fetchrow(_STEP, sop_instance_uid)
