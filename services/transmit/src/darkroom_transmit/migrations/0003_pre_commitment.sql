-- Where a job is with storage commitment: '' not asked for, 'wanted' to be asked, 'asked', 'done'.
ALTER TABLE job
    ADD COLUMN commitment text NOT NULL DEFAULT ''
    CHECK (commitment IN ('', 'wanted', 'asked', 'done', 'failed'));
CREATE INDEX job_commitment ON job (next_at) WHERE commitment = 'wanted';
CREATE INDEX job_study ON job (study_instance_uid, created_at DESC);
