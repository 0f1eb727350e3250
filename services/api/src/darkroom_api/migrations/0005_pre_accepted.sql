-- Commands that were answered 202, until their owner has them, and what goes out for them (API-22).
-- Writer and reader: darkroom_api.

CREATE TABLE accepted (
    job_id          text PRIMARY KEY,      -- of the job that the owner makes
    command_id      text NOT NULL UNIQUE,  -- of the message
    kind            text NOT NULL,         -- whose table takes over: darkroom_api.jobs.accepted
    state           text NOT NULL DEFAULT 'ACCEPTED'
                    CHECK (state IN ('ACCEPTED', 'FAILED', 'CANCELLED')),
    reason          text NOT NULL DEFAULT '',
    command         jsonb NOT NULL,        -- the message without what is sealed: no PHI
    user_id         uuid NOT NULL,
    requested_by    text NOT NULL,
    idempotency_key bytea,                 -- HMAC; forgotten after a day
    fingerprint     bytea NOT NULL,        -- HMAC of the request
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL DEFAULT now(),
    finished_at     timestamptz,
    taken_at        timestamptz            -- the owner's row was seen
);
CREATE UNIQUE INDEX accepted_once ON accepted (user_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX accepted_waiting ON accepted (kind, created_at DESC, job_id) WHERE taken_at IS NULL;
CREATE INDEX accepted_taken ON accepted (taken_at) WHERE taken_at IS NOT NULL;

CREATE TABLE outbox (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id text NOT NULL,
    type       text NOT NULL,
    body       bytea NOT NULL,
    headers    text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX outbox_message ON outbox (message_id);

CREATE TABLE inbox (
    consumer    text NOT NULL,
    message_id  text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, message_id)
);
CREATE INDEX inbox_age ON inbox (received_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON accepted, outbox, inbox TO darkroom_api;
