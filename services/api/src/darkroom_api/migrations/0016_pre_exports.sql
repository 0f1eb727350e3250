-- Lists of studies as files: who has asked for which, and what has become of it. The files are
-- sealed, and not here. Writer and reader: darkroom_api.

CREATE TABLE export (
    id              text PRIMARY KEY,
    user_id         uuid NOT NULL,               -- whose it is
    requested_by    text NOT NULL,
    format          text NOT NULL,
    columns         text[] NOT NULL,
    filters         text NOT NULL,               -- sealed: they hold names
    shared          boolean NOT NULL DEFAULT false,
    state           text NOT NULL DEFAULT 'PENDING' CHECK (state IN
                    ('PENDING', 'PROCESSING', 'RETRYING', 'COMPLETED', 'FAILED', 'CANCELLED')),
    reason          text NOT NULL DEFAULT '',
    done            bigint NOT NULL DEFAULT 0,   -- studies that are written
    total           bigint,                      -- studies that were found
    size            bigint,                      -- bytes of the file, as it is downloaded
    expires_at      timestamptz,
    removed_at      timestamptz,                 -- there is no file any more
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
CREATE UNIQUE INDEX export_once ON export (user_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX export_due ON export (created_at)
    WHERE state IN ('PENDING', 'PROCESSING', 'RETRYING');
CREATE INDEX export_newest ON export (created_at DESC, id DESC);
CREATE INDEX export_file ON export (finished_at)
    WHERE finished_at IS NOT NULL AND removed_at IS NULL;

GRANT SELECT, INSERT, UPDATE, DELETE ON export TO darkroom_api;
