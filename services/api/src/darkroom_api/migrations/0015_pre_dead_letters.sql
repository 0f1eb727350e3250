-- Messages that were given up, from `<queue>.dead` until an operator replays or discards them.

CREATE TABLE dead_letter (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    queue       text NOT NULL,            -- that it died in, and goes back to
    message_id  text NOT NULL,
    type        text NOT NULL,
    reason      text NOT NULL,
    attempts    integer NOT NULL,
    died_at     timestamptz NOT NULL,
    kept_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    trace       jsonb NOT NULL,
    body        bytea,                    -- no PHI but sealed; until it has been dealt with
    fingerprint bytea NOT NULL,           -- the same delivery again is not another letter
    state       text NOT NULL DEFAULT 'HELD'
                CHECK (state IN ('HELD', 'REPLAYING', 'REPLAYED', 'DISCARDED')),
    version     integer NOT NULL DEFAULT 1,
    changed_by  text NOT NULL DEFAULT '',
    changed_at  timestamptz
);
CREATE INDEX dead_letter_died ON dead_letter (died_at DESC, id DESC);
CREATE INDEX dead_letter_same ON dead_letter (fingerprint);
CREATE INDEX dead_letter_replaying ON dead_letter (changed_at) WHERE state = 'REPLAYING';
CREATE INDEX dead_letter_held ON dead_letter (queue) WHERE state = 'HELD';
CREATE INDEX dead_letter_ended ON dead_letter (changed_at) WHERE state IN ('REPLAYED', 'DISCARDED');

GRANT SELECT, INSERT, UPDATE, DELETE ON dead_letter TO darkroom_api;
