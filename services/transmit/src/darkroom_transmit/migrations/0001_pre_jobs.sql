-- Jobs of transmit. Writer: darkroom_transmit. Reader: darkroom_api.

CREATE TABLE job (
    id                  text PRIMARY KEY,  -- given by whoever asked, so that asking twice is one job
    destination         text NOT NULL,
    study_instance_uid  text,
    series_instance_uid text,
    sop_instance_uids   text[] NOT NULL DEFAULT '{}',
    priority            text NOT NULL CHECK (priority IN ('low', 'medium', 'high')),
    state               text NOT NULL DEFAULT 'PENDING' CHECK (state IN
                        ('PENDING', 'SENDING', 'RETRYING', 'SENT', 'COMMITTED', 'FAILED', 'CANCELLED')),
    attempts            integer NOT NULL DEFAULT 0,
    next_at             timestamptz NOT NULL DEFAULT now(),
    reason              text NOT NULL DEFAULT '',
    requested_by        text NOT NULL DEFAULT '',
    traceparent         text NOT NULL DEFAULT '',
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX job_waiting ON job (destination, next_at) WHERE state IN ('PENDING', 'RETRYING');
CREATE INDEX job_newest ON job (created_at DESC, id);

CREATE TABLE inbox (
    consumer    text NOT NULL,
    message_id  text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, message_id)
);
CREATE INDEX inbox_age ON inbox (received_at);

CREATE TABLE outbox (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id text NOT NULL,
    type       text NOT NULL,
    body       bytea NOT NULL,
    headers    text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

GRANT USAGE ON SCHEMA transmit TO darkroom_transmit, darkroom_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON job, inbox, outbox TO darkroom_transmit;
GRANT SELECT ON job TO darkroom_api;
