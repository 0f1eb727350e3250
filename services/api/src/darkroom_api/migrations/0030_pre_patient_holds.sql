-- Who answers for a hold: a person or a department, in words without anything of a patient.
ALTER TABLE legal_hold ADD COLUMN owner text NOT NULL DEFAULT '';

-- Patients of whom nobody may delete anything. Writer: darkroom_api; metadata looks before it deletes
-- and before it purges.
CREATE TABLE patient_hold (
    id          text PRIMARY KEY,
    patient_key bytea NOT NULL UNIQUE,  -- as index.patient.patient_key: a blind token
    by          text NOT NULL,
    owner       text NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    sealed      text NOT NULL           -- who the patient is, and why
);
CREATE INDEX patient_hold_newest ON patient_hold (at DESC, id DESC);

-- The studies that were the patient's when the hold was placed: they stay held when they become
-- another's. What comes later is held by the patient's key.
CREATE TABLE patient_hold_study (
    hold               text NOT NULL REFERENCES patient_hold (id) ON DELETE CASCADE,
    study_instance_uid text NOT NULL,
    PRIMARY KEY (hold, study_instance_uid)
);
CREATE INDEX patient_hold_study_uid ON patient_hold_study (study_instance_uid);

GRANT SELECT, INSERT, DELETE ON patient_hold, patient_hold_study TO darkroom_api;
GRANT UPDATE ON patient_hold TO darkroom_api;  -- under another key of PHI_KEYS
GRANT SELECT ON patient_hold, patient_hold_study TO darkroom_metadata;
