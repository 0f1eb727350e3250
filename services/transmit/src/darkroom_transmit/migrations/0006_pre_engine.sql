-- The job engine: all kinds have the same columns for waiting, trying and leases.
ALTER TABLE retrieve ADD COLUMN wait_seconds double precision NOT NULL DEFAULT 0;
UPDATE retrieve SET wait_seconds = greatest(0, extract(epoch FROM next_at - now()))
    WHERE state = 'RETRYING';
CREATE INDEX retrieve_lane ON retrieve (remote)
    WHERE state IN ('PENDING', 'RETRIEVING', 'RETRYING');
CREATE INDEX retrieve_finished ON retrieve (finished_at) WHERE state IN ('DONE', 'CANCELLED');

ALTER TABLE prefetch
    ADD COLUMN id           text GENERATED ALWAYS AS (rule || '/' || study_instance_uid) STORED,
    ADD COLUMN attempts     integer NOT NULL DEFAULT 0,
    ADD COLUMN wait_seconds double precision NOT NULL DEFAULT 0,
    ADD COLUMN lease_owner  text NOT NULL DEFAULT '',
    ADD COLUMN traceparent  text NOT NULL DEFAULT '',
    ADD COLUMN finished_at  timestamptz;
UPDATE prefetch SET finished_at = updated_at WHERE state IN ('DONE', 'FAILED');
UPDATE prefetch SET wait_seconds = greatest(0, extract(epoch FROM next_at - now()))
    WHERE state = 'PENDING';
ALTER TABLE prefetch DROP CONSTRAINT prefetch_state_check;
ALTER TABLE prefetch ADD CONSTRAINT prefetch_state_check
    CHECK (state IN ('PENDING', 'ASKING', 'RETRYING', 'DONE', 'FAILED', 'CANCELLED'));
CREATE UNIQUE INDEX prefetch_id ON prefetch (id);
CREATE INDEX prefetch_lane ON prefetch (remote) WHERE state IN ('PENDING', 'ASKING', 'RETRYING');
CREATE INDEX prefetch_finished ON prefetch (finished_at) WHERE state IN ('DONE', 'CANCELLED');

CREATE INDEX job_commitment_lane ON job (destination) WHERE commitment IN ('wanted', 'asked');

ALTER TABLE change DROP CONSTRAINT change_kind_check;
ALTER TABLE change ADD CONSTRAINT change_kind_check CHECK (kind IN
    ('destination', 'rule', 'job', 'retrieve', 'procedure-step', 'prefetch'));
