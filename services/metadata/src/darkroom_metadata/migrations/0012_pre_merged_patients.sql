-- Whose id is another patient's since a merge: what comes later under it is merged, too. Old code
-- neither writes nor reads it: what it files meanwhile is merged with the next object of the id.
CREATE TABLE merged_patient (
    patient_key bytea PRIMARY KEY,  -- as patient.patient_key: of the id that is no more
    target_key  bytea NOT NULL,     -- of the patient that it belongs to
    sealed      text NOT NULL,      -- an Edit: from the one to the other
    by          text NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX merged_patient_target ON merged_patient (target_key);

-- Of a merge that follows for what has come later; one that waits sees all of it.
ALTER TABLE edit ADD COLUMN merged_key bytea;
CREATE UNIQUE INDEX edit_merges ON edit (merged_key)
    WHERE merged_key IS NOT NULL AND state = 'PENDING';

GRANT SELECT, INSERT, UPDATE, DELETE ON merged_patient TO darkroom_metadata;
