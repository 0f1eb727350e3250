-- What other nodes ask of us: storage commitment as its SCP (PS3.4 annex J).
CREATE TABLE asked_commitment (
    id                text PRIMARY KEY,
    transaction_uid   text NOT NULL,
    calling_ae_title  text NOT NULL,
    called_ae_title   text NOT NULL,
    sop_class_uids    text[] NOT NULL,  -- of each instance
    sop_instance_uids text[] NOT NULL,
    reasons           integer[],  -- of each (PS3.3 C.14.1.1), 0: kept; null until all is looked at
    held              boolean NOT NULL DEFAULT true,  -- the association that has asked is open
    state             text NOT NULL DEFAULT 'PENDING' CHECK (state IN
                      ('PENDING', 'WORKING', 'RETRYING', 'REPORTED', 'FAILED')),
    reason            text NOT NULL DEFAULT '',
    tries             integer NOT NULL DEFAULT 0,
    attempts          integer NOT NULL DEFAULT 0,
    next_at           timestamptz NOT NULL DEFAULT now(),
    wait_seconds      double precision NOT NULL DEFAULT 0,
    lease_owner       text NOT NULL DEFAULT '',
    lease_until       timestamptz,
    traceparent       text NOT NULL DEFAULT '',
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    finished_at       timestamptz,
    UNIQUE (calling_ae_title, transaction_uid)
);
CREATE INDEX asked_commitment_alive ON asked_commitment (calling_ae_title)
    WHERE state IN ('PENDING', 'WORKING', 'RETRYING');
CREATE INDEX asked_commitment_finished ON asked_commitment (finished_at)
    WHERE state IN ('REPORTED', 'FAILED');
GRANT SELECT, INSERT, UPDATE, DELETE ON asked_commitment TO darkroom_transmit;
