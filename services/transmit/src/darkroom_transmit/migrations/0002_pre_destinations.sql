-- Destinations, routing rules, and what becomes of each instance of a job.
-- Writer: darkroom_transmit. Reader: darkroom_api, except for secrets.

CREATE TABLE destination (
    name           text PRIMARY KEY CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    spec           jsonb NOT NULL,             -- darkroom_common.messages.destinations.DestinationSpec
    secret         text NOT NULL DEFAULT '',   -- of its login, sealed under PHI_KEYS
    version        bigint NOT NULL DEFAULT 1,
    breaker        text NOT NULL DEFAULT 'closed' CHECK (breaker IN ('closed', 'open', 'half-open')),
    breaker_reason text NOT NULL DEFAULT '',
    breaker_until  timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE rule (
    name       text PRIMARY KEY CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    position   integer NOT NULL,
    spec       jsonb NOT NULL,  -- darkroom_common.messages.rules.RuleSpec
    version    bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- What was changed by whom; the service adds rows and can do nothing else to them.
CREATE TABLE change (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    by     text NOT NULL,
    action text NOT NULL CHECK (action IN ('added', 'changed', 'removed', 'retry', 'cancel')),
    kind   text NOT NULL CHECK (kind IN ('destination', 'rule', 'job')),
    name   text NOT NULL,
    before jsonb,
    after  jsonb
);

ALTER TABLE job
    ADD COLUMN rule            text NOT NULL DEFAULT '',
    ADD COLUMN resolved        boolean NOT NULL DEFAULT false,  -- its instances are listed
    ADD COLUMN total           integer NOT NULL DEFAULT 0,
    ADD COLUMN sent            integer NOT NULL DEFAULT 0,      -- committed ones, too
    ADD COLUMN failed          integer NOT NULL DEFAULT 0,
    ADD COLUMN warned          integer NOT NULL DEFAULT 0,      -- of those sent
    ADD COLUMN tries           integer NOT NULL DEFAULT 0,      -- since an operator acted: what backs off
    ADD COLUMN wait_seconds    double precision NOT NULL DEFAULT 0,  -- from the last attempt to next_at
    ADD COLUMN lease_owner     text NOT NULL DEFAULT '',
    ADD COLUMN lease_until     timestamptz,
    ADD COLUMN commitment_tries integer NOT NULL DEFAULT 0,
    ADD COLUMN finished_at     timestamptz;
CREATE INDEX job_leased ON job (lease_until) WHERE state = 'SENDING';
CREATE INDEX job_state ON job (state, created_at DESC);

CREATE TABLE job_instance (
    job_id              text NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    sop_instance_uid    text NOT NULL,
    position            integer NOT NULL,
    state               text NOT NULL DEFAULT 'PENDING'
                        CHECK (state IN ('PENDING', 'SENT', 'COMMITTED', 'FAILED', 'CANCELLED')),
    status              integer,                    -- the last answer, PS3.7 annex C
    reason              text NOT NULL DEFAULT '',
    tries               integer NOT NULL DEFAULT 0,
    transfer_syntax_uid text NOT NULL DEFAULT '',   -- in which it was sent
    updated_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, sop_instance_uid)
);
CREATE INDEX job_instance_waiting ON job_instance (job_id, position) WHERE state = 'PENDING';
CREATE INDEX job_instance_uid ON job_instance (sop_instance_uid);

CREATE TABLE attempt (
    job_id     text NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    number     integer NOT NULL,
    began_at   timestamptz NOT NULL DEFAULT now(),
    ended_at   timestamptz,
    outcome    text NOT NULL DEFAULT '',  -- sent, failed, retry; empty while it goes on or was cut off
    reason     text NOT NULL DEFAULT '',
    sent       integer NOT NULL DEFAULT 0,
    failed     integer NOT NULL DEFAULT 0,
    next_at    timestamptz,
    PRIMARY KEY (job_id, number)
);

-- What a rule has sent where: never twice by itself.
CREATE TABLE routed (
    rule             text NOT NULL,
    destination      text NOT NULL,
    sop_instance_uid text NOT NULL,
    job_id           text NOT NULL,
    PRIMARY KEY (destination, rule, sop_instance_uid)
);

-- How a study came: what rules look at beside the index, and the trace that a delivery belongs to.
CREATE TABLE arrival (
    study_instance_uid text NOT NULL,
    calling_ae_title   text NOT NULL,
    called_ae_title    text NOT NULL,
    traceparent        text NOT NULL DEFAULT '',
    first_at           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (study_instance_uid, calling_ae_title, called_ae_title)
);
CREATE INDEX arrival_age ON arrival (first_at);

-- Storage commitment: what a destination was asked to confirm (PS3.4 annex J).
CREATE TABLE commitment (
    transaction_uid text PRIMARY KEY,
    job_id          text NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    destination     text NOT NULL,
    sop_instance_uids text[] NOT NULL,
    state           text NOT NULL DEFAULT 'ASKED'
                    CHECK (state IN ('ASKED', 'COMMITTED', 'PARTLY', 'EXPIRED')),
    asked_at        timestamptz NOT NULL DEFAULT now(),
    deadline        timestamptz NOT NULL,
    answered_at     timestamptz
);
CREATE INDEX commitment_waiting ON commitment (deadline) WHERE state = 'ASKED';
CREATE INDEX commitment_job ON commitment (job_id);

GRANT SELECT, INSERT, UPDATE, DELETE ON destination, rule, job_instance, attempt, routed, arrival, commitment
    TO darkroom_transmit;
GRANT SELECT, INSERT ON change TO darkroom_transmit;
GRANT SELECT (name, spec, version, breaker, breaker_reason, breaker_until, created_at, updated_at)
    ON destination TO darkroom_api;
GRANT SELECT ON rule, change, job_instance, attempt, routed, commitment TO darkroom_api;
