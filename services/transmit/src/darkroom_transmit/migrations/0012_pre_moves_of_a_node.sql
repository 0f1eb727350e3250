-- How many C-MOVEs of one node are not over.
CREATE INDEX job_moves ON job (originator) WHERE originator <> '' AND finished_at IS NULL;
