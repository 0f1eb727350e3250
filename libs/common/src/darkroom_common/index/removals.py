"""Readers of schema `index` for removals: jobs that delete and restore studies."""

from typing import Final

REMOVALS: Final = (
    "SELECT id AS job_id, action, study_instance_uid, state, reason, attempts, requested_by,"
    " purge_after, purged_at, restored_at,"
    " CASE WHEN state IN ('PENDING', 'RETRYING') THEN next_at END AS next_at,"
    " created_at, updated_at, finished_at FROM index.removal"
)
