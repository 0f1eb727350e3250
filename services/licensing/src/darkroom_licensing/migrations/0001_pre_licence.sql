-- The licence in force and how it came to be. Writer: darkroom_licensing. Reader: darkroom_api.

CREATE TABLE licence_check (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    state        text NOT NULL CHECK (state IN ('unconfigured', 'valid', 'grace', 'expired', 'invalid')),
    reason       text NOT NULL DEFAULT '',
    requested_by text NOT NULL DEFAULT '',
    checked_at   timestamptz NOT NULL DEFAULT now()
);

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

GRANT USAGE ON SCHEMA licensing TO darkroom_licensing, darkroom_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON licence_check, inbox, outbox TO darkroom_licensing;
GRANT SELECT ON licence_check TO darkroom_api;
