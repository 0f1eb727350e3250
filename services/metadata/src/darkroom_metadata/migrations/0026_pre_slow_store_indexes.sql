-- Who has waited longest in each store comes first.
CREATE INDEX CONCURRENTLY instance_read_back ON instance (in_slow, (coalesce(verified_at, indexed_at)), id);
CREATE INDEX CONCURRENTLY conflict_read_back ON conflict (in_slow, (coalesce(verified_at, received_at)), id);
