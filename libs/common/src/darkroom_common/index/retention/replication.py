"""Reads of schema `index` for replication: what is not sent, not taken, and what came of it."""

from typing import Final

STATE: Final = """
    SELECT s.name AS site, s.is_on AS sends, s.sent AS files, s.heard, d.changes, d.bytes,
        d.seconds, d.failed, k.outvoted, k.refused, f.damaged, f.repaired
    FROM (SELECT count(*) AS changes, coalesce(sum(size), 0)::bigint AS bytes,
            coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 AS seconds,
            count(*) FILTER (WHERE reason <> '') AS failed
        FROM index.replication_due) AS d,
        (SELECT count(*) FILTER (WHERE state = 'outvoted') AS outvoted,
            count(*) FILTER (WHERE state = 'refused') AS refused
        FROM index.replication_told WHERE state IN ('outvoted', 'refused')) AS k,
        (SELECT count(*) FILTER (WHERE repaired_at IS NULL AND resolved_at IS NULL) AS damaged,
            count(*) FILTER (WHERE repaired_at > clock_timestamp() - interval '30 days') AS repaired
        FROM index.verification_finding) AS f
    LEFT JOIN index.replication_site s ON true
"""
"""One row, whether anything is sent or not. replication_told_ended."""
PEERS: Final = """
    SELECT p.name, p.taken AS files, p.at, p.reason, t.changes, t.seconds
    FROM index.replication_peer p CROSS JOIN LATERAL (
        SELECT count(*) AS changes,
            coalesce(extract(epoch FROM clock_timestamp() - min(at)), 0)::float8 AS seconds
        FROM index.replication_told WHERE site = p.name AND state IN ('waiting', 'working')) AS t
    ORDER BY p.name
"""
"""Sites that are followed. replication_told_study."""
SHIPPING: Final = (
    "SELECT active, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint"
    " AS bytes FROM pg_replication_slots WHERE slot_name = 'darkroom_shipping'"
)
"""The slot of `darkroom ship`, where somebody has begun that."""
OUTCOMES: Final = (  # replication_told_ended
    "SELECT id AS number, id::text AS outcome_id, site, kind, state, study_instance_uid, reason,"
    " at, ended_at FROM index.replication_told WHERE state IN ('outvoted', 'refused')"
)
"""What another site has told and was not done here, or not all of it."""
