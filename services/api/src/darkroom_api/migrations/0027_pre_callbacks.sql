-- What is told outside (API-13): the log of events, who is called with them, and each delivery.
-- Writer and reader: darkroom_api.

CREATE TABLE change (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    by     text NOT NULL,
    action text NOT NULL,
    kind   text NOT NULL,
    name   text NOT NULL,
    before jsonb,
    after  jsonb
);

-- Rows are numbered in the order in which they can be read: whoever adds some holds a lock until the commit.
CREATE TABLE event (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          text NOT NULL UNIQUE,         -- the same however often its message is delivered
    type        text NOT NULL,
    at          timestamptz NOT NULL,         -- when it has happened
    recorded_at timestamptz NOT NULL DEFAULT now(),
    data        text NOT NULL,                -- JSON; UIDs and ids, nothing that identifies a patient
    traceparent text NOT NULL DEFAULT '',
    callback_id text NOT NULL DEFAULT ''      -- for this callback alone
);
CREATE INDEX event_recorded ON event (recorded_at);

CREATE TABLE event_log (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    removed_to bigint NOT NULL DEFAULT 0      -- the highest number that is not there any more
);
INSERT INTO event_log DEFAULT VALUES;

CREATE TABLE callback (
    name            text PRIMARY KEY CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    id              text NOT NULL UNIQUE DEFAULT replace(gen_random_uuid()::text, '-', ''),
    spec            jsonb NOT NULL,           -- darkroom_api.callbacks.spec.CallbackSpec
    secret          text NOT NULL DEFAULT '', -- sealed under PHI_KEYS, as the next
    former_secret   text NOT NULL DEFAULT '', -- sealed, too; signs as well until
    former_until    timestamptz,
    version         bigint NOT NULL DEFAULT 1,
    failures        integer NOT NULL DEFAULT 0, -- deliveries that have failed for good since the last that was made
    delivered_at    timestamptz,              -- to a minute
    failed_at       timestamptz,
    disabled_at     timestamptz,
    disabled_reason text NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE callback_delivery (
    id           text PRIMARY KEY,
    callback     text NOT NULL,               -- its name
    callback_id  text NOT NULL,
    event        bigint NOT NULL,             -- its number
    event_id     text NOT NULL,               -- its id, which receivers know it by
    type         text NOT NULL,               -- of the event
    state        text NOT NULL DEFAULT 'PENDING' CHECK (state IN
                 ('PENDING', 'DELIVERING', 'RETRYING', 'DELIVERED', 'FAILED', 'CANCELLED')),
    reason       text NOT NULL DEFAULT '',
    status       integer,                     -- of the last answer
    attempts     integer NOT NULL DEFAULT 0,
    tries        integer NOT NULL DEFAULT 0,
    next_at      timestamptz NOT NULL DEFAULT now(),
    wait_seconds double precision NOT NULL DEFAULT 0,
    lease_owner  text NOT NULL DEFAULT '',
    lease_until  timestamptz,
    traceparent  text NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz,
    UNIQUE (callback_id, event)
);
CREATE INDEX callback_delivery_due ON callback_delivery (created_at)
    WHERE state IN ('PENDING', 'DELIVERING', 'RETRYING');
CREATE INDEX callback_delivery_newest ON callback_delivery (callback_id, created_at DESC, id DESC);
CREATE INDEX callback_delivery_event ON callback_delivery (event);

CREATE TABLE callback_attempt (
    delivery text NOT NULL REFERENCES callback_delivery (id) ON DELETE CASCADE,
    number   integer NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    seconds  double precision NOT NULL,
    status   integer,
    reason   text NOT NULL DEFAULT '',
    PRIMARY KEY (delivery, number)
);

GRANT SELECT, INSERT ON change TO darkroom_api;
GRANT SELECT, INSERT, DELETE ON event TO darkroom_api;
GRANT SELECT, UPDATE ON event_log TO darkroom_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON callback, callback_delivery, callback_attempt TO darkroom_api;

INSERT INTO role_permission (role, permission) VALUES
    ('medical_admin', 'callbacks:read'), ('medical_admin', 'callbacks:write');
