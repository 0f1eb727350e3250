-- E-mail that waits to be sent, or was. Writer and reader: darkroom_api.

CREATE TABLE mail (
    id           text PRIMARY KEY,             -- and of its Message-ID
    template     text NOT NULL,
    recipient    text NOT NULL,                -- an address
    sealed       text NOT NULL,                -- values of the template
    gathered     text NOT NULL DEFAULT '',     -- what it is about, when more of the same may come
    items        text[] NOT NULL DEFAULT '{}', -- the first of those that came
    count        integer NOT NULL DEFAULT 1,   -- how many came
    state        text NOT NULL DEFAULT 'PENDING' CHECK (state IN
                 ('PENDING', 'SENDING', 'RETRYING', 'SENT', 'FAILED', 'CANCELLED')),
    reason       text NOT NULL DEFAULT '',
    attempts     integer NOT NULL DEFAULT 0,
    tries        integer NOT NULL DEFAULT 0,
    next_at      timestamptz NOT NULL DEFAULT now(),
    wait_seconds double precision NOT NULL DEFAULT 0,
    lease_owner  text NOT NULL DEFAULT '',
    lease_until  timestamptz,
    traceparent  text NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz
);
CREATE UNIQUE INDEX mail_gathering ON mail (gathered, recipient)
    WHERE gathered <> '' AND state = 'PENDING';
CREATE INDEX mail_gathered ON mail (gathered, recipient, created_at) WHERE gathered <> '';
CREATE INDEX mail_due ON mail (created_at) WHERE state IN ('PENDING', 'SENDING', 'RETRYING');
CREATE INDEX mail_over ON mail (finished_at) WHERE finished_at IS NOT NULL;

GRANT SELECT, INSERT, UPDATE, DELETE ON mail TO darkroom_api;
