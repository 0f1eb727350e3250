"""What verification has done and found, and what is reported of the index as errors."""

from typing import Final

RUNS: Final = (
    "SELECT id AS number, id::text AS run_id, kind, scope, state, started, finished, checked,"
    " bytes, findings FROM index.verification_run"
)
TIERS: Final = """
    SELECT t.tier, t.oldest_at, r.* FROM (VALUES
        ('fast', 'contents', (SELECT coalesce(verified_at, indexed_at) FROM index.instance
            WHERE in_slow = false ORDER BY coalesce(verified_at, indexed_at) LIMIT 1)),
        ('slow', 'slow', (SELECT coalesce(verified_at, indexed_at) FROM index.instance
            WHERE in_slow = true ORDER BY coalesce(verified_at, indexed_at) LIMIT 1)),
        ('replica', 'replica', (SELECT min(verified_at) FROM index.replicated))
    ) AS t (tier, of, oldest_at)
    LEFT JOIN LATERAL (
        SELECT id AS number, id::text AS run_id, kind, scope, state, started, finished, checked,
            bytes, findings
        FROM index.verification_run WHERE kind = t.of ORDER BY id DESC LIMIT 1
    ) AS r ON true
"""
"""Each store, when what has waited longest there was stored or read back, and the last run.

instance_read_back, replicated_verified, verification_run_last."""
FINDINGS: Final = (
    "SELECT id AS number, id::text AS finding_id, kind, object_key, receipt, size, first_seen,"
    " last_seen, repaired_at, resolved_at, CASE WHEN resolved_at IS NOT NULL THEN 'resolved'"
    " WHEN repaired_at IS NOT NULL THEN 'repaired' ELSE 'open' END AS state"
    " FROM index.verification_finding"
)

ERRORS: Final = """
    SELECT 'verification' AS kind, id::text AS error_id, first_seen AS at, kind AS reason,
        '' AS subject FROM index.verification_finding WHERE first_seen >= $1 AND first_seen < $2
    UNION ALL SELECT 'conflict', id::text, received_at, kind, calling_ae_title FROM index.conflict
    WHERE received_at >= $1 AND received_at < $2
"""
"""From $1 until $2, as the error report has it."""

KEPT: Final = """
    SELECT i.object_key, i.data_set_offset, i.size, encode(i.sha256, 'hex') AS sha256
    FROM index.instance i JOIN index.series e ON e.id = i.series_id
    JOIN index.study s ON s.id = e.study_id
    WHERE s.status <> 'deleted' AND ($1::text[] IS NULL OR i.object_key = ANY($1))
    UNION ALL SELECT object_key, data_set_offset, size, encode(sha256, 'hex')
    FROM index.conflict WHERE kind IN ('instance', 'correction') AND removed_at IS NULL
    AND state <> 'discarded' AND ($1::text[] IS NULL OR object_key = ANY($1))
"""
"""What rows say of the objects that have to be there (of the keys $1; NULL: of all): of what was
deleted or discarded the object may have been removed since. instance_object, conflict_object."""

NEWEST: Final = "SELECT max(received_at) FROM index.instance"
