-- Migration from an earlier archive (STO-06). Writer: darkroom_transmit. Reader: darkroom_api.

CREATE TABLE migration (
    id           text PRIMARY KEY,  -- given by whoever asked, so that asking twice is one job
    source       text NOT NULL,     -- a destination; ':files'
    source_id    text NOT NULL DEFAULT '',
    spec         jsonb NOT NULL,    -- darkroom_common.specs.remote.MigrationSpec
    state        text NOT NULL DEFAULT 'PENDING' CHECK (state IN
                 ('PENDING', 'MIGRATING', 'RETRYING', 'PAUSED', 'DONE', 'FAILED', 'CANCELLED')),
    reason       text NOT NULL DEFAULT '',
    cursor       text NOT NULL DEFAULT '',  -- how far the source is listed, sealed under PHI_KEYS
    listed       boolean NOT NULL DEFAULT false,
    undated      text NOT NULL DEFAULT '',  -- why studies without a date are not all listed
    studies      bigint NOT NULL DEFAULT 0, -- that the source has told of
    studies_done bigint NOT NULL DEFAULT 0,
    objects      bigint NOT NULL DEFAULT 0, -- that the source has told of
    received     bigint NOT NULL DEFAULT 0,
    bytes        bigint NOT NULL DEFAULT 0, -- of what was received
    there        bigint NOT NULL DEFAULT 0,
    missing      bigint NOT NULL DEFAULT 0,
    differing    bigint NOT NULL DEFAULT 0,
    refused      bigint NOT NULL DEFAULT 0,
    passed_over  bigint NOT NULL DEFAULT 0, -- files that are no DICOM
    at_work      integer NOT NULL DEFAULT 0,
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
CREATE INDEX migration_newest ON migration (created_at DESC, id);
CREATE INDEX migration_waiting ON migration (next_at)
    WHERE state IN ('PENDING', 'MIGRATING', 'RETRYING');
CREATE INDEX migration_finished ON migration (finished_at) WHERE state IN ('DONE', 'CANCELLED');

CREATE TABLE migration_study (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    migration_id       text NOT NULL REFERENCES migration (id) ON DELETE CASCADE,
    study_instance_uid text NOT NULL,
    study_date         date,
    told               integer,  -- Number of Study Related Instances (0020,1208) of the source
    patient            text NOT NULL DEFAULT '',  -- id of the patient of files, sealed
    state              text NOT NULL DEFAULT 'WAITING' CHECK (state IN ('WAITING', 'COPIED', 'DONE')),
    reason             text NOT NULL DEFAULT '',
    asked_at           timestamptz,  -- somebody wants it first
    asked_by           text NOT NULL DEFAULT '',
    tries              integer NOT NULL DEFAULT 0,
    next_at            timestamptz NOT NULL DEFAULT now(),
    copied_at          timestamptz,
    settled_at         timestamptz,
    objects            integer NOT NULL DEFAULT 0,
    there              integer NOT NULL DEFAULT 0,
    missing            integer NOT NULL DEFAULT 0,
    differing          integer NOT NULL DEFAULT 0,
    refused            integer NOT NULL DEFAULT 0,
    digest             bytea,  -- SHA-256 of the sorted "UID digest" lines of what is there
    UNIQUE (migration_id, study_instance_uid)
);
CREATE INDEX migration_study_next
    ON migration_study (migration_id, study_date DESC NULLS LAST, id) WHERE state = 'WAITING';
CREATE INDEX migration_study_asked
    ON migration_study (migration_id, asked_at) WHERE state = 'WAITING' AND asked_at IS NOT NULL;
CREATE INDEX migration_study_copied ON migration_study (migration_id, id) WHERE state = 'COPIED';

-- What the source has of a study. When all of it is there, its rows go and the study has the counts.
CREATE TABLE migration_object (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    migration_id        text NOT NULL,
    study_instance_uid  text NOT NULL,
    series_instance_uid text NOT NULL DEFAULT '',
    sop_class_uid       text NOT NULL DEFAULT '',
    sop_instance_uid    text NOT NULL,
    location            text NOT NULL DEFAULT '',  -- path of its file, sealed under PHI_KEYS
    outcome             text NOT NULL DEFAULT '' CHECK (outcome IN
                        ('', 'received', 'there', 'missing', 'differing', 'refused')),
    reason              text NOT NULL DEFAULT '',
    status              integer,  -- of the C-STORE at ingest that was no success
    sha256              bytea,    -- of the data set as it was received
    size                bigint,
    FOREIGN KEY (migration_id, study_instance_uid)
        REFERENCES migration_study (migration_id, study_instance_uid) ON DELETE CASCADE
);
CREATE INDEX migration_object_study ON migration_object (migration_id, study_instance_uid);
CREATE UNIQUE INDEX migration_object_once
    ON migration_object (migration_id, study_instance_uid, sop_instance_uid) WHERE location = '';

ALTER TABLE change DROP CONSTRAINT change_kind_check;
ALTER TABLE change ADD CONSTRAINT change_kind_check CHECK (kind IN
    ('destination', 'rule', 'job', 'retrieve', 'procedure-step', 'prefetch', 'migration'))
    NOT VALID;  -- validated in 0017
ALTER TABLE change DROP CONSTRAINT change_action_check;
ALTER TABLE change ADD CONSTRAINT change_action_check CHECK (action IN
    ('added', 'changed', 'removed', 'retry', 'cancel', 'pause', 'resume')) NOT VALID;

GRANT SELECT, INSERT, UPDATE, DELETE ON migration, migration_study, migration_object
    TO darkroom_transmit;
GRANT SELECT ON migration, migration_study, migration_object TO darkroom_api;
