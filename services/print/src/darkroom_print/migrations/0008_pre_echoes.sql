-- What a printer answers when it is asked on a schedule.
ALTER TABLE printer
    ADD COLUMN echo_state    text NOT NULL DEFAULT '' CHECK (echo_state IN ('', 'UP', 'DOWN')),
    ADD COLUMN echo_failures integer NOT NULL DEFAULT 0,  -- in a row
    ADD COLUMN echo_reason   text NOT NULL DEFAULT '',
    ADD COLUMN echo_seconds  double precision,
    ADD COLUMN echo_at       timestamptz,
    ADD COLUMN echo_since    timestamptz,                 -- of the state
    ADD COLUMN echo_version  bigint,                      -- of the spec that was asked last
    ADD COLUMN echo_due_at   timestamptz;                 -- whoever asks puts it off first
