-- What the rules of retention say of each study: written by the nightly run, in slices, and anew where
-- the study, its work status or the rules have changed. Whoever deletes judges once more, of the study
-- as it is then.
CREATE TABLE retention (
    study_id      bigint PRIMARY KEY,  -- of study or one of its heirs
    study_version bigint NOT NULL,     -- of which it was said
    exam_status   text NOT NULL,
    rules         text NOT NULL,       -- digest of the rules
    keep_until    date NOT NULL,       -- the first day on which it may go
    rule          integer NOT NULL     -- from 1; 0: none fits, RETENTION_YEARS holds
);
CREATE INDEX retention_due ON retention (keep_until, study_id);

-- The runs: each is a job. action `plan` looks alone; `mark` deletes what is due, restorable until it is purged.
CREATE TABLE retention_run (
    id           text PRIMARY KEY,
    action       text NOT NULL CHECK (action IN ('plan', 'mark')),
    day          date NOT NULL,        -- what is due on it
    rules        text NOT NULL,        -- digest of the rules
    state        text NOT NULL DEFAULT 'PENDING' CHECK (state IN
                 ('PENDING', 'RUNNING', 'RETRYING', 'DONE', 'FAILED', 'CANCELLED')),
    reason       text NOT NULL DEFAULT '',
    judged_to    bigint NOT NULL DEFAULT 0,  -- row of the last study that was judged
    marked_to    bigint NOT NULL DEFAULT 0,  -- and of the last one that was looked at as due
    marked_day   date NOT NULL DEFAULT '0001-01-01',  -- its keep_until
    judged       bigint NOT NULL DEFAULT 0,  -- studies that were judged anew
    due          bigint NOT NULL DEFAULT 0,
    held         bigint NOT NULL DEFAULT 0,  -- of these, by a legal hold
    kept         bigint NOT NULL DEFAULT 0,  -- of these, for another reason: restored, being received, kept after all
    marked       bigint NOT NULL DEFAULT 0,
    attempts     integer NOT NULL DEFAULT 0,
    tries        integer NOT NULL DEFAULT 0,
    next_at      timestamptz NOT NULL DEFAULT now(),
    wait_seconds double precision NOT NULL DEFAULT 0,
    lease_owner  text NOT NULL DEFAULT '',
    lease_until  timestamptz,
    requested_by text NOT NULL DEFAULT '',
    traceparent  text NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz
);
CREATE INDEX retention_run_due ON retention_run (created_at) WHERE state IN ('PENDING', 'RUNNING', 'RETRYING');
CREATE INDEX retention_run_newest ON retention_run (created_at DESC, id DESC);

-- When the next study may be marked or purged, over all processes.
CREATE TABLE pace (
    name    text PRIMARY KEY,
    next_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO pace (name) VALUES ('mark'), ('purge');

-- Why a study was deleted that nobody has asked to be deleted; empty: somebody has.
ALTER TABLE removal ADD COLUMN rule text NOT NULL DEFAULT '';

GRANT SELECT, INSERT, UPDATE, DELETE ON retention, retention_run TO darkroom_metadata;
GRANT SELECT, UPDATE ON pace TO darkroom_metadata;
GRANT SELECT ON retention, retention_run, merged_patient TO darkroom_api;
