-- What a destination answers to the echo that is sent on a schedule.
ALTER TABLE destination
    ADD COLUMN echo_state    text NOT NULL DEFAULT '' CHECK (echo_state IN ('', 'UP', 'DOWN')),
    ADD COLUMN echo_failures integer NOT NULL DEFAULT 0,  -- in a row
    ADD COLUMN echo_reason   text NOT NULL DEFAULT '',
    ADD COLUMN echo_seconds  double precision,
    ADD COLUMN echo_at       timestamptz,
    ADD COLUMN echo_since    timestamptz,                 -- of the state
    ADD COLUMN echo_version  bigint,                      -- of the spec that was asked last
    ADD COLUMN echo_due_at   timestamptz;                 -- whoever asks puts it off first
GRANT SELECT (echo_state, echo_failures, echo_reason, echo_seconds, echo_at, echo_since)
    ON destination TO darkroom_api;
