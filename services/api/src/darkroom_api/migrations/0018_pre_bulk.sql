-- Changes of many examinations that are jobs, and how far each is. Writer and reader: darkroom_api.

CREATE TABLE bulk_change (
    id              text PRIMARY KEY,
    user_id         uuid NOT NULL,               -- whose it is
    requested_by    text NOT NULL,
    what            text NOT NULL,
    sealed          text NOT NULL,               -- the change with its examinations, until it is done
    total           integer NOT NULL,
    gone_through    integer NOT NULL DEFAULT 0,  -- where the next attempt goes on
    done            integer NOT NULL DEFAULT 0,
    changed         integer NOT NULL DEFAULT 0,  -- that were otherwise before
    failed          integer NOT NULL DEFAULT 0,
    errors          text[] NOT NULL DEFAULT '{}', -- sealed: the first of those that failed
    state           text NOT NULL DEFAULT 'PENDING' CHECK (state IN
                    ('PENDING', 'PROCESSING', 'RETRYING', 'COMPLETED', 'FAILED', 'CANCELLED')),
    reason          text NOT NULL DEFAULT '',
    attempts        integer NOT NULL DEFAULT 0,
    tries           integer NOT NULL DEFAULT 0,
    next_at         timestamptz NOT NULL DEFAULT now(),
    wait_seconds    double precision NOT NULL DEFAULT 0,
    lease_owner     text NOT NULL DEFAULT '',
    lease_until     timestamptz,
    idempotency_key bytea,
    fingerprint     bytea NOT NULL,
    traceparent     text NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    finished_at     timestamptz
);
CREATE UNIQUE INDEX bulk_change_once ON bulk_change (user_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX bulk_change_due ON bulk_change (created_at)
    WHERE state IN ('PENDING', 'PROCESSING', 'RETRYING');
CREATE INDEX bulk_change_newest ON bulk_change (user_id, created_at DESC, id DESC);
CREATE INDEX bulk_change_over ON bulk_change (finished_at) WHERE finished_at IS NOT NULL;

GRANT SELECT, INSERT, UPDATE, DELETE ON bulk_change TO darkroom_api;
