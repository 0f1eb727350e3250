-- Instance Availability Notification: what destinations are to be told. Writer: darkroom_transmit.
CREATE TABLE notice (
    id                 text GENERATED ALWAYS AS
                           (destination || '/' || study_instance_uid || '/' || revision::text) STORED,
    destination        text NOT NULL,
    destination_id     text NOT NULL,
    study_instance_uid text NOT NULL,
    revision           integer NOT NULL,
    state              text NOT NULL DEFAULT 'PENDING' CHECK (state IN
                           ('PENDING', 'TELLING', 'RETRYING', 'DONE', 'FAILED', 'CANCELLED')),
    reason             text NOT NULL DEFAULT '',
    tries              integer NOT NULL DEFAULT 0,
    attempts           integer NOT NULL DEFAULT 0,
    next_at            timestamptz NOT NULL DEFAULT now(),
    wait_seconds       double precision NOT NULL DEFAULT 0,
    lease_owner        text NOT NULL DEFAULT '',
    lease_until        timestamptz,
    traceparent        text NOT NULL DEFAULT '',
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    finished_at        timestamptz,
    PRIMARY KEY (destination, study_instance_uid, revision)
);
CREATE UNIQUE INDEX notice_id ON notice (id);
CREATE INDEX notice_lane ON notice (destination) WHERE state IN ('PENDING', 'TELLING', 'RETRYING');
CREATE INDEX notice_waiting ON notice (next_at) WHERE state IN ('PENDING', 'RETRYING');
CREATE INDEX notice_finished ON notice (finished_at) WHERE state IN ('DONE', 'CANCELLED');

GRANT SELECT, INSERT, UPDATE, DELETE ON notice TO darkroom_transmit;
GRANT SELECT ON notice TO darkroom_api;
