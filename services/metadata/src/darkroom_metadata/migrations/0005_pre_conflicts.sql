-- Conflicts that an operator can act on. Old code runs on this: it goes on filing under the first study
-- and the first series of a UID, and sees what new code has filed beside them.

-- A known study UID with another patient, or a known series UID with another modality, has a row of its
-- own in these heirs: whoever reads study or series reads them, too, and the UIDs stay unique among the
-- rows that were first. ids come from the one sequence. PostgreSQL has no foreign key to a table with
-- heirs, so that series.study_id and instance.series_id are kept right by the writer alone.
ALTER TABLE series DROP CONSTRAINT series_study_id_fkey;
ALTER TABLE instance DROP CONSTRAINT instance_series_id_fkey;

CREATE TABLE study_beside () INHERITS (study);
ALTER TABLE study_beside
    ADD PRIMARY KEY (id),
    ADD FOREIGN KEY (patient_id) REFERENCES patient (id),
    ALTER COLUMN id SET DEFAULT nextval('study_id_seq');
CREATE INDEX study_beside_uid ON study_beside (study_instance_uid);
CREATE INDEX study_beside_patient ON study_beside (patient_id);
CREATE INDEX study_beside_date ON study_beside (study_date DESC NULLS LAST, id DESC);
CREATE INDEX study_beside_blind ON study_beside USING gin (blind);
CREATE INDEX study_beside_modalities ON study_beside USING gin (modalities);
CREATE INDEX study_beside_receiving ON study_beside (last_instance_at) WHERE status = 'receiving';

CREATE TABLE series_beside () INHERITS (series);
ALTER TABLE series_beside
    ADD PRIMARY KEY (id),
    ALTER COLUMN id SET DEFAULT nextval('series_id_seq');
CREATE INDEX series_beside_study ON series_beside (study_id, series_instance_uid);
CREATE INDEX series_beside_uid ON series_beside (series_instance_uid);
CREATE INDEX series_beside_modality ON series_beside (modality);
CREATE INDEX series_beside_blind ON series_beside USING gin (blind);

-- What a row is about, and which object it names:
--   instance    a known SOP instance UID with other bytes: those that are not in force
--   correction  the bytes of an instance as they came, before an operator had them corrected
--   patient     a known study UID with another patient, study_beside and the study that was first
--   series      a known series UID in another study
--   modality    a known series UID with another modality, series_beside and the series that was first
-- The last three name the first instance that disagreed, whose object the index has as well.
ALTER TABLE conflict
    DROP CONSTRAINT conflict_receipt_key,
    DROP CONSTRAINT conflict_instance_id_object_key_key,
    ADD COLUMN kind                text NOT NULL DEFAULT 'instance'
               CHECK (kind IN ('instance', 'correction', 'patient', 'series', 'modality')),
    ADD COLUMN state               text NOT NULL DEFAULT 'open' CHECK (state IN
               ('open', 'kept', 'promoted', 'discarded', 'merged', 'moved', 'split')),
    ADD COLUMN attributes          text[] NOT NULL DEFAULT '{}',  -- keywords of what disagrees, no values
    ADD COLUMN first_study_id      bigint,
    ADD COLUMN first_series_id     bigint,
    ADD COLUMN beside_study_id     bigint,
    ADD COLUMN beside_series_id    bigint,
    ADD COLUMN header              bytea,     -- as instance.header; empty: an older release has written it
    ADD COLUMN phi_key             smallint,
    ADD COLUMN version             bigint NOT NULL DEFAULT 1,     -- grows with every change: the ETag
    ADD COLUMN resolved_at         timestamptz,
    ADD COLUMN resolved_by         text NOT NULL DEFAULT '',
    ADD COLUMN remove_after        timestamptz,                   -- discarded: its object is deleted then
    ADD COLUMN removed_at          timestamptz;
-- What is told once, however often it is delivered.
CREATE UNIQUE INDEX conflict_bytes ON conflict (instance_id, object_key)
    WHERE kind IN ('instance', 'correction');
CREATE UNIQUE INDEX conflict_beside ON conflict
    (kind, (coalesce(beside_study_id, 0)), (coalesce(beside_series_id, 0)))
    WHERE kind IN ('patient', 'series', 'modality');
CREATE INDEX conflict_newest ON conflict (received_at DESC, id DESC);
CREATE INDEX conflict_study ON conflict (study_instance_uid, received_at DESC, id DESC);
CREATE INDEX conflict_open ON conflict (kind, received_at DESC, id DESC) WHERE state = 'open';
CREATE INDEX conflict_removal ON conflict (remove_after)
    WHERE remove_after IS NOT NULL AND removed_at IS NULL;

-- What operators have asked for: one at work for a conflict at a time.
CREATE TABLE resolution (
    id           text PRIMARY KEY,  -- given by whoever asked, so that asking twice is one job
    conflict_id  bigint NOT NULL REFERENCES conflict (id),
    action       text NOT NULL
                 CHECK (action IN ('promote', 'discard', 'keep', 'merge', 'move', 'split')),
    version      bigint,                        -- of the conflict that they have seen; empty: any
    sealed       text NOT NULL DEFAULT '',      -- the reason, and the patient to move to
    state        text NOT NULL DEFAULT 'PENDING' CHECK (state IN
                 ('PENDING', 'RESOLVING', 'RETRYING', 'DONE', 'FAILED', 'CANCELLED')),
    reason       text NOT NULL DEFAULT '',
    instances    integer NOT NULL DEFAULT 0,    -- that it has changed so far
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
CREATE UNIQUE INDEX resolution_at_work ON resolution (conflict_id)
    WHERE state IN ('PENDING', 'RESOLVING', 'RETRYING');
CREATE INDEX resolution_due ON resolution (created_at)
    WHERE state IN ('PENDING', 'RESOLVING', 'RETRYING');
CREATE INDEX resolution_newest ON resolution (created_at DESC, id DESC);
CREATE INDEX resolution_conflict ON resolution (conflict_id, created_at DESC);

-- Who did what, and when.
CREATE TABLE change (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    by     text NOT NULL,
    action text NOT NULL,
    kind   text NOT NULL CHECK (kind IN ('conflict')),
    name   text NOT NULL
);

GRANT SELECT, INSERT, UPDATE, DELETE ON study_beside, series_beside, resolution TO darkroom_metadata;
GRANT USAGE ON SEQUENCE study_id_seq, series_id_seq TO darkroom_metadata;
GRANT SELECT, INSERT ON change TO darkroom_metadata;
GRANT SELECT ON study_beside, series_beside TO darkroom_api, darkroom_transmit, darkroom_print, darkroom_ingest;
GRANT SELECT ON resolution TO darkroom_api;
