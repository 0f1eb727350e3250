-- Printers, auto-print rules, films of a job, and pictures of films.
-- Writer: darkroom_print. Reader: darkroom_api.

CREATE TABLE printer (
    name        text PRIMARY KEY CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    spec        jsonb NOT NULL,             -- darkroom_common.messages.printers.PrinterSpec
    version     bigint NOT NULL DEFAULT 1,
    status      text NOT NULL DEFAULT '',   -- NORMAL, WARNING, FAILURE, or AWAY; empty: never asked
    status_info text NOT NULL DEFAULT '',   -- Printer Status Info, or the reason why it is away
    status_at   timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE rule (
    name       text PRIMARY KEY CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    spec       jsonb NOT NULL,  -- darkroom_common.messages.printers.PrintRuleSpec
    version    bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- What was changed by whom; the service adds rows and can do nothing else to them.
CREATE TABLE change (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    by     text NOT NULL,
    action text NOT NULL CHECK (action IN ('added', 'changed', 'removed', 'retry', 'cancel', 'confirm')),
    kind   text NOT NULL CHECK (kind IN ('printer', 'rule', 'job')),
    name   text NOT NULL,
    before jsonb,
    after  jsonb
);

ALTER TABLE job
    ADD COLUMN sealed      text NOT NULL DEFAULT '',      -- FilmOrder, sealed under PHI_KEYS
    ADD COLUMN rule        text NOT NULL DEFAULT '',
    ADD COLUMN films       integer NOT NULL DEFAULT 0,    -- pages; 0 until composing has begun
    ADD COLUMN films_done  integer NOT NULL DEFAULT 0,
    ADD COLUMN tries       integer NOT NULL DEFAULT 0,    -- since an operator acted: what backs off
    ADD COLUMN warnings    text[] NOT NULL DEFAULT '{}',  -- what the printer had to say
    ADD COLUMN lease_owner text NOT NULL DEFAULT '',
    ADD COLUMN lease_until timestamptz,
    ADD COLUMN finished_at timestamptz;
CREATE INDEX job_leased ON job (lease_until) WHERE state IN ('COMPOSING', 'PRINTING');

-- ACTING is committed before N-ACTION is sent: whoever finds it later does not know.
CREATE TABLE film (
    job_id     text NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    number     integer NOT NULL,
    state      text NOT NULL DEFAULT 'WAITING'
               CHECK (state IN ('WAITING', 'ACTING', 'DONE', 'UNKNOWN')),
    sha256     bytea,          -- of the bitmaps in the order of their boxes
    print_job  text NOT NULL DEFAULT '',  -- SOP instance UID that the printer gave
    warnings   text[] NOT NULL DEFAULT '{}',
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, number)
);

-- Pictures for the API to fetch, sealed under PHI_KEYS; kept for minutes.
CREATE TABLE picture (
    id         text PRIMARY KEY,
    media_type text NOT NULL,
    sealed     bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX picture_age ON picture (created_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON printer, rule, film, picture TO darkroom_print;
GRANT SELECT, INSERT ON change TO darkroom_print;
GRANT SELECT ON printer, rule, film, picture TO darkroom_api;
