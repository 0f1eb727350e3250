"""Reads of schema `index` for tiers: recalls, and how long they take."""

from typing import Final

RECALLS: Final = (  # the last 20 that copied anything say how fast it goes
    "SELECT id AS job_id, study_instance_uid, state, reason, objects, bytes, total_bytes,"
    " CASE WHEN state IN ('DONE', 'FAILED', 'CANCELLED') THEN NULL ELSE"
    "  greatest(total_bytes - bytes, 0) * (SELECT sum(extract(epoch FROM r.took)) / sum(r.bytes)"
    "   FROM (SELECT bytes, finished_at - created_at AS took FROM index.tier_job"
    "    WHERE action = 'recall' AND state = 'DONE' AND bytes > 0 ORDER BY created_at DESC, id DESC"
    "    LIMIT 20) AS r)::float8 END AS seconds_left,"
    " attempts, requested_by,"
    " CASE WHEN state IN ('PENDING', 'RETRYING') THEN next_at END AS next_at,"
    " created_at, updated_at, finished_at FROM index.tier_job WHERE action = 'recall'"
)
