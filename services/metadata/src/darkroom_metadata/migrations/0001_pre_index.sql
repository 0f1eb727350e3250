-- The index of patients, studies, series and instances. Writer: darkroom_metadata.
-- Readers: darkroom_api, darkroom_transmit, darkroom_print, darkroom_ingest (query/retrieve).
--
-- phi columns hold pgp_sym_encrypt(<JSON text>, key phi_key). The JSON of patient, study and series is
--   {"j": {<tag>: <DICOM JSON element>}, "n": {<keyword>: <normalised text>}}
-- ("j": the level's attributes, PS3.18 annex F; "n": what a search compares, made by phi.normalise).
-- blind columns hold the tokens of darkroom_common.postgres.phi.BlindIndex.

CREATE TABLE patient (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_key bytea NOT NULL UNIQUE,  -- blind token of issuer and patient id; of the study when it has none
    phi         bytea NOT NULL,
    phi_key     smallint NOT NULL,
    blind       bytea[] NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE study (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id         bigint NOT NULL REFERENCES patient (id),
    study_instance_uid text NOT NULL UNIQUE,
    study_date         date,
    study_time         time,
    modalities         text[] NOT NULL DEFAULT '{}',  -- distinct, sorted
    sop_classes        text[] NOT NULL DEFAULT '{}',
    calling_ae_titles  text[] NOT NULL DEFAULT '{}',
    series_count       integer NOT NULL DEFAULT 0,
    instance_count     integer NOT NULL DEFAULT 0,
    byte_count         bigint NOT NULL DEFAULT 0,
    status             text NOT NULL DEFAULT 'receiving'
                       CHECK (status IN ('receiving', 'complete', 'verified', 'archived', 'deleted')),
    revision           integer NOT NULL DEFAULT 0,    -- how often it was complete
    version            bigint NOT NULL DEFAULT 1,     -- grows with every change: the ETag
    phi                bytea NOT NULL,
    phi_key            smallint NOT NULL,
    blind              bytea[] NOT NULL DEFAULT '{}',  -- tokens of the patient's and the study's fields
    created_at         timestamptz NOT NULL DEFAULT now(),
    last_instance_at   timestamptz NOT NULL DEFAULT now(),
    completed_at       timestamptz
);
CREATE INDEX study_patient ON study (patient_id);
CREATE INDEX study_date ON study (study_date DESC NULLS LAST, id DESC);
CREATE INDEX study_blind ON study USING gin (blind);
CREATE INDEX study_modalities ON study USING gin (modalities);
CREATE INDEX study_receiving ON study (last_instance_at) WHERE status = 'receiving';

CREATE TABLE series (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    study_id            bigint NOT NULL REFERENCES study (id),
    series_instance_uid text NOT NULL,
    modality            text,
    series_number       bigint,
    performed_date      date,  -- PerformedProcedureStepStartDate
    performed_time      time,
    instance_count      integer NOT NULL DEFAULT 0,
    version             bigint NOT NULL DEFAULT 1,
    phi                 bytea NOT NULL,
    phi_key             smallint NOT NULL,
    blind               bytea[] NOT NULL DEFAULT '{}',
    created_at          timestamptz NOT NULL DEFAULT now(),
    UNIQUE (study_id, series_instance_uid)
);
CREATE INDEX series_uid ON series (series_instance_uid);
CREATE INDEX series_modality ON series (modality);
CREATE INDEX series_blind ON series USING gin (blind);

CREATE TABLE instance (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    series_id           bigint NOT NULL REFERENCES series (id),
    sop_instance_uid    text NOT NULL UNIQUE,
    sop_class_uid       text NOT NULL,
    transfer_syntax_uid text NOT NULL,
    instance_number     bigint,
    pixel_rows          integer,
    pixel_columns       integer,
    bits_allocated      integer,
    number_of_frames    integer,
    object_key          text NOT NULL,
    sha256              bytea NOT NULL,   -- of the data set
    size                bigint NOT NULL,  -- bytes of the data set
    data_set_offset     bigint NOT NULL,  -- where the data set starts in the object
    receipt             text NOT NULL,
    calling_ae_title    text NOT NULL,
    flags               text[] NOT NULL DEFAULT '{}',
    duplicates          integer NOT NULL DEFAULT 0,
    header              bytea NOT NULL,   -- encrypted DICOM JSON of the whole data set, bulk data by reference
    phi_key             smallint NOT NULL,
    received_at         timestamptz NOT NULL,
    indexed_at          timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX instance_series ON instance (series_id, instance_number, id);

-- A known SOP instance UID that came with other bytes, or under another study or series.
CREATE TABLE conflict (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instance_id      bigint NOT NULL REFERENCES instance (id),
    study_instance_uid  text NOT NULL,
    series_instance_uid text NOT NULL,
    object_key       text NOT NULL,
    sha256           bytea NOT NULL,
    size             bigint NOT NULL,
    receipt          text NOT NULL UNIQUE,
    calling_ae_title text NOT NULL,
    received_at      timestamptz NOT NULL,
    UNIQUE (instance_id, object_key)
);

CREATE TABLE inbox (
    consumer    text NOT NULL,
    message_id  text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, message_id)
);
CREATE INDEX inbox_age ON inbox (received_at);

CREATE TABLE outbox (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id text NOT NULL,
    type       text NOT NULL,
    body       bytea NOT NULL,
    headers    text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

GRANT USAGE ON SCHEMA index TO darkroom_metadata, darkroom_api, darkroom_transmit, darkroom_print, darkroom_ingest;
GRANT SELECT, INSERT, UPDATE, DELETE ON patient, study, series, instance, conflict, inbox, outbox TO darkroom_metadata;
GRANT SELECT ON patient, study, series, instance, conflict
    TO darkroom_api, darkroom_transmit, darkroom_print, darkroom_ingest;
