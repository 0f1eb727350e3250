-- The job engine: how long a job waits, so that a clock that was set back holds up none.
ALTER TABLE job ADD COLUMN wait_seconds double precision NOT NULL DEFAULT 0;
UPDATE job SET wait_seconds = greatest(0, extract(epoch FROM next_at - now()))
    WHERE state = 'RETRYING';
