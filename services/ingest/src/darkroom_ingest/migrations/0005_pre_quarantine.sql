-- What stands in the quarantines of all spools, for lists and for what operators want done with it.
-- The files decide; each ingest keeps the rows of its own spool. Writer: darkroom_ingest.

CREATE TABLE spool (
    id      uuid PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT now()  -- when its ingest has compared last
);

CREATE TABLE quarantined (
    receipt           text PRIMARY KEY,
    spool             uuid NOT NULL REFERENCES spool (id),
    reason            text NOT NULL,
    status            text NOT NULL,   -- that the sender got
    received_at       timestamptz NOT NULL,
    size              bigint NOT NULL, -- bytes of the file
    position          bigint,          -- byte of the data set where it breaks
    calling_ae_title  text NOT NULL,
    sop_class_uid     text NOT NULL,
    transfer_syntax_uid text NOT NULL,
    state             text NOT NULL DEFAULT 'HELD' CHECK (state IN
                      ('HELD', 'RELEASING', 'DISCARDING', 'RELEASED', 'DISCARDED', 'GONE')),
    forced            boolean NOT NULL DEFAULT false,
    result            text NOT NULL DEFAULT '',  -- why it was not released
    version           integer NOT NULL DEFAULT 1,
    changed_by        text NOT NULL DEFAULT '',
    changed_at        timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX quarantined_wanted ON quarantined (spool) WHERE state IN ('RELEASING', 'DISCARDING');
CREATE INDEX quarantined_there ON quarantined (spool, receipt)
    WHERE state IN ('HELD', 'RELEASING', 'DISCARDING');
CREATE INDEX quarantined_received ON quarantined (received_at DESC, receipt DESC);
CREATE INDEX quarantined_ended ON quarantined (changed_at)
    WHERE state IN ('RELEASED', 'DISCARDED', 'GONE');

GRANT SELECT, INSERT, UPDATE, DELETE ON spool, quarantined TO darkroom_ingest;
GRANT SELECT ON spool, quarantined TO darkroom_api;
