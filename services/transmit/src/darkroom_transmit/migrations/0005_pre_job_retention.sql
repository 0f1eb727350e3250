-- Which jobs have ended well, the oldest first: those that are removed after JOB_RETENTION_DAYS.
CREATE INDEX job_finished ON job (finished_at) WHERE state IN ('SENT', 'COMMITTED', 'CANCELLED');
