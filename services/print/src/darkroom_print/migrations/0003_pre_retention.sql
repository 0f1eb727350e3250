-- Jobs that have ended well are forgotten after a while (JOB_RETENTION_DAYS), the oldest first.
CREATE INDEX job_ended ON job (finished_at) WHERE state IN ('DONE', 'CANCELLED');
