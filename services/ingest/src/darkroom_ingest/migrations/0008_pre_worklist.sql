-- The modality worklist, and the performed procedure steps that modalities tell of. Who the patient
-- is stands in `sealed` only. Writer: darkroom_ingest. Reader: darkroom_api.

CREATE TABLE worklist (
    id                 text PRIMARY KEY,
    version            bigint NOT NULL DEFAULT 1,
    source             text NOT NULL CHECK (source IN ('rest', 'hl7', 'file')),
    state              text NOT NULL CHECK (state IN ('SCHEDULED', 'ARRIVED', 'READY', 'STARTED',
                                                      'COMPLETED', 'DISCONTINUED', 'CANCELLED')),
    scheduled_at       timestamptz NOT NULL,  -- by the clock of the department, as if that were UTC
    modality           text NOT NULL,
    stations           text[] NOT NULL,     -- none: any of the modality
    study_instance_uid text NOT NULL,
    step_key           bytea NOT NULL UNIQUE,  -- blind token of accession number and step
    accession_key      bytea,               -- blind tokens of values; null: there is none
    patient_key        bytea,
    sealed             text NOT NULL,       -- darkroom_common.specs.worklist.WorklistEntry
    requested_by       text NOT NULL DEFAULT '',
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX worklist_scheduled ON worklist (scheduled_at, id);
CREATE INDEX worklist_open ON worklist (scheduled_at, id)
    WHERE state IN ('SCHEDULED', 'ARRIVED', 'READY', 'STARTED');
CREATE INDEX worklist_accession ON worklist (accession_key) WHERE accession_key IS NOT NULL;
CREATE INDEX worklist_patient ON worklist (patient_key) WHERE patient_key IS NOT NULL;
CREATE INDEX worklist_study ON worklist (study_instance_uid);

CREATE TABLE performed_step (
    sop_instance_uid    text PRIMARY KEY,
    version             bigint NOT NULL DEFAULT 1,
    state               text NOT NULL CHECK (state IN ('IN PROGRESS', 'COMPLETED', 'DISCONTINUED')),
    calling_ae_title    text NOT NULL,
    station_ae_title    text NOT NULL,
    modality            text NOT NULL,
    study_instance_uids text[] NOT NULL,
    entries             text[] NOT NULL,     -- of the worklist that it performs
    sealed              text NOT NULL,       -- its attributes as DICOM JSON
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX performed_step_newest ON performed_step (created_at DESC, sop_instance_uid DESC);
CREATE INDEX performed_step_studies ON performed_step USING gin (study_instance_uids);
CREATE INDEX performed_step_entries ON performed_step USING gin (entries);

CREATE TABLE outbox (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id text NOT NULL,
    type       text NOT NULL,
    body       bytea NOT NULL,
    headers    text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

GRANT SELECT, INSERT, UPDATE, DELETE ON worklist, performed_step, outbox TO darkroom_ingest;
GRANT SELECT ON worklist, performed_step TO darkroom_api;
