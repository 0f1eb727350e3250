-- Erasures of persons: what was to go, what stays and why; the certificate is made of it and of the
-- removals, as they are when it is asked for. Writer and reader: darkroom_api.
CREATE TABLE erasure (
    id      text PRIMARY KEY,
    user_id uuid NOT NULL,
    by      text NOT NULL,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    sealed  text NOT NULL  -- whose, why, and of each study what was decided
);
CREATE INDEX erasure_newest ON erasure (at DESC, id DESC);

GRANT SELECT, INSERT, UPDATE ON erasure TO darkroom_api;
-- What people said of an examination goes with its study.
GRANT DELETE ON examination_change TO darkroom_api;
