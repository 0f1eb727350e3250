-- Edits of what objects say of their patient and their study. The objects are written anew, all of a
-- study are in force at once, and those that were in force stay as conflicts of kind `correction`.

-- Which edit of its study an object has; 0: as it came. Old code files it with 0.
ALTER TABLE instance ADD COLUMN edition bigint NOT NULL DEFAULT 0;

-- What stands of a study's edits, for objects that come later and do not know of them. phi is JSON:
--   {"values": {<tag>: <text, or null: taken out>}, "before": [{"patient": <row>, "n": {...}}]}
CREATE TABLE study_edit (
    id      bigint PRIMARY KEY,  -- of the study
    edition bigint NOT NULL,     -- how often it was edited
    edit_id text NOT NULL,       -- the last edit
    phi     bytea NOT NULL,
    phi_key smallint NOT NULL
);

-- Who has changed what. phi is JSON: {"reason": ..., "fields": [{"field", "old", "new"}]}
CREATE TABLE study_change (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    study_instance_uid text NOT NULL,
    at                 timestamptz NOT NULL DEFAULT clock_timestamp(),
    by                 text NOT NULL,
    edit_id            text NOT NULL,
    phi                bytea NOT NULL,
    phi_key            smallint NOT NULL
);
CREATE INDEX study_change_study ON study_change (study_instance_uid, id DESC);

-- What people have asked for, and what follows for objects that have come since.
CREATE TABLE edit (
    id                 text PRIMARY KEY,  -- given by whoever asked, so that asking twice is one job
    action             text NOT NULL
                       CHECK (action IN ('edit', 'merge', 'move', 'split', 'follow')),
    study_instance_uid text,              -- empty: all of a patient
    sealed             text NOT NULL DEFAULT '',  -- an Edit
    state              text NOT NULL DEFAULT 'PENDING' CHECK (state IN
                       ('PENDING', 'EDITING', 'RETRYING', 'DONE', 'FAILED', 'CANCELLED')),
    reason             text NOT NULL DEFAULT '',
    studies            integer NOT NULL DEFAULT 0,  -- that it has changed so far
    instances          integer NOT NULL DEFAULT 0,
    attempts           integer NOT NULL DEFAULT 0,
    tries              integer NOT NULL DEFAULT 0,
    next_at            timestamptz NOT NULL DEFAULT now(),
    wait_seconds       double precision NOT NULL DEFAULT 0,
    lease_owner        text NOT NULL DEFAULT '',
    lease_until        timestamptz,
    requested_by       text NOT NULL DEFAULT '',
    traceparent        text NOT NULL DEFAULT '',
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    finished_at        timestamptz
);
CREATE INDEX edit_due ON edit (created_at) WHERE state IN ('PENDING', 'EDITING', 'RETRYING');
CREATE INDEX edit_newest ON edit (created_at DESC, id DESC);
CREATE UNIQUE INDEX edit_follows ON edit (study_instance_uid)
    WHERE action = 'follow' AND state = 'PENDING';

-- Objects that are written and not in force yet: all of a study's go in at once.
CREATE TABLE edited (
    edit_id         text NOT NULL REFERENCES edit (id) ON DELETE CASCADE,
    instance_id     bigint NOT NULL,
    from_key        text NOT NULL,  -- of the object that it was made of
    object_key      text NOT NULL,
    sha256          bytea NOT NULL,
    size            bigint NOT NULL,
    data_set_offset bigint NOT NULL,
    head_sha256     bytea,
    header          bytea NOT NULL,
    phi_key         smallint NOT NULL,
    PRIMARY KEY (edit_id, instance_id)
);

ALTER TABLE change DROP CONSTRAINT change_kind_check,
                   ADD CONSTRAINT change_kind_check CHECK (kind IN ('conflict', 'edit', 'removal'));

GRANT SELECT, INSERT, UPDATE, DELETE ON study_edit, study_change, edit, edited
    TO darkroom_metadata;
GRANT SELECT ON study_edit, study_change, edit TO darkroom_api;
