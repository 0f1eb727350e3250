-- Files that sites tell each other by do not stay for ever: each says how far its own site has read
-- those of the other one.
-- few rows: replication_site, replication_peer.

ALTER TABLE replication_site
    ADD COLUMN first bigint NOT NULL DEFAULT 1,  -- the first number that is still there
    ADD COLUMN begun bigint NOT NULL DEFAULT 1,  -- from which on all is there that there is
    ADD COLUMN heard bigint NOT NULL DEFAULT 0,  -- how far the other site has read
    ADD COLUMN told_heard bigint NOT NULL DEFAULT 0,  -- how far we have read, as it was told last
    ADD COLUMN told_heard_at timestamptz NOT NULL DEFAULT clock_timestamp();

ALTER TABLE replication_peer
    ADD COLUMN reason text NOT NULL DEFAULT '';  -- why nothing more is read
