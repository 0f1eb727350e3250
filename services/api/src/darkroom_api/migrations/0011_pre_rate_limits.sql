-- Who has asked how often (API-04). Not logged: a crash or a failover begins all counts anew, and
-- no request waits for a disk.

CREATE UNLOGGED TABLE rate_limit (
    key      text PRIMARY KEY,           -- limit, and user or address
    number   double precision NOT NULL,  -- of the period, counted since 1970
    previous bigint NOT NULL,            -- counted in the period before
    current  bigint NOT NULL,            -- counted in this one
    taken    boolean NOT NULL,           -- what became of the last take
    ends     timestamptz NOT NULL        -- of this period
) WITH (fillfactor = 50);                -- a row is updated in place

GRANT SELECT, INSERT, UPDATE, DELETE ON rate_limit TO darkroom_api;
