"""What verification has done and found, and what is reported of the index as errors."""

from typing import Final

RUNS: Final = (
    "SELECT id AS number, id::text AS run_id, kind, scope, state, started, finished, checked,"
    " bytes, findings FROM index.verification_run"
)
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
