-- What is asked of other nodes: retrieve jobs, priors, performed procedure steps.
-- Writer: darkroom_transmit. Reader: darkroom_api.

CREATE TABLE procedure_step (
    sop_instance_uid text PRIMARY KEY,
    remote           text NOT NULL,
    state            text NOT NULL DEFAULT 'CREATING' CHECK (state IN
                     ('CREATING', 'REFUSED', 'IN PROGRESS', 'COMPLETED', 'DISCONTINUED')),
    sealed           text NOT NULL,             -- its attributes as DICOM JSON, under PHI_KEYS
    reason           text NOT NULL DEFAULT '',  -- of the last request that failed
    status           integer,                   -- the last answer, PS3.7 annex C
    requested_by     text NOT NULL DEFAULT '',
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX procedure_step_newest ON procedure_step (created_at DESC, sop_instance_uid);

CREATE TABLE retrieve (
    id                  text PRIMARY KEY,  -- given by whoever asked, so that asking twice is one job
    remote              text NOT NULL,
    method              text NOT NULL CHECK (method IN ('move', 'get')),
    study_instance_uid  text NOT NULL,
    series_instance_uid text,
    sop_instance_uids   text[] NOT NULL DEFAULT '{}',
    wanted              text[] NOT NULL DEFAULT '{}',  -- those that failed: only they are asked for again
    state               text NOT NULL DEFAULT 'PENDING' CHECK (state IN
                        ('PENDING', 'RETRIEVING', 'RETRYING', 'DONE', 'FAILED', 'CANCELLED')),
    reason              text NOT NULL DEFAULT '',
    status              integer,                       -- the last final answer, PS3.4 C.4.2.1.5
    remaining           integer,
    completed           integer NOT NULL DEFAULT 0,
    failed              integer NOT NULL DEFAULT 0,
    warned              integer NOT NULL DEFAULT 0,
    cancel              boolean NOT NULL DEFAULT false,  -- somebody wants it to end
    attempts            integer NOT NULL DEFAULT 0,
    tries               integer NOT NULL DEFAULT 0,      -- since an operator acted: what backs off
    next_at             timestamptz NOT NULL DEFAULT now(),
    lease_owner         text NOT NULL DEFAULT '',
    lease_until         timestamptz,
    rule                text NOT NULL DEFAULT '',        -- that wanted it as a prior
    prior_of            text NOT NULL DEFAULT '',        -- study
    requested_by        text NOT NULL DEFAULT '',
    traceparent         text NOT NULL DEFAULT '',
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    finished_at         timestamptz
);
CREATE INDEX retrieve_waiting ON retrieve (next_at)
    WHERE state IN ('PENDING', 'RETRIEVING', 'RETRYING');
CREATE INDEX retrieve_newest ON retrieve (created_at DESC, id);
CREATE INDEX retrieve_study ON retrieve (study_instance_uid);
-- One prior is asked for once, however many studies and rules want it.
CREATE UNIQUE INDEX retrieve_prior ON retrieve (remote, study_instance_uid) WHERE rule <> '';

-- A rule that wants the priors of a study: once for each.
CREATE TABLE prefetch (
    rule               text NOT NULL,
    study_instance_uid text NOT NULL,
    remote             text NOT NULL,
    spec               jsonb NOT NULL,  -- darkroom_common.messages.rules.Prefetch
    state              text NOT NULL DEFAULT 'PENDING' CHECK (state IN ('PENDING', 'DONE', 'FAILED')),
    reason             text NOT NULL DEFAULT '',
    tries              integer NOT NULL DEFAULT 0,
    next_at            timestamptz NOT NULL DEFAULT now(),
    lease_until        timestamptz,
    asked_for          integer NOT NULL DEFAULT 0,  -- studies
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (rule, study_instance_uid)
);
CREATE INDEX prefetch_waiting ON prefetch (next_at) WHERE state = 'PENDING';

ALTER TABLE change DROP CONSTRAINT change_kind_check;
ALTER TABLE change ADD CONSTRAINT change_kind_check
    CHECK (kind IN ('destination', 'rule', 'job', 'retrieve', 'procedure-step'));

GRANT SELECT, INSERT, UPDATE, DELETE ON procedure_step, retrieve, prefetch TO darkroom_transmit;
GRANT SELECT ON procedure_step, retrieve, prefetch TO darkroom_api;
