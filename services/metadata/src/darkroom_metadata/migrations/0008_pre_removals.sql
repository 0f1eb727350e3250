-- Studies that were deleted by people: restorable until their objects and rows are purged.
CREATE TABLE removal (
    id                 text PRIMARY KEY,  -- given by whoever asked, so that asking twice is one job
    action             text NOT NULL CHECK (action IN ('delete', 'restore')),
    study_instance_uid text NOT NULL,
    sealed             text NOT NULL DEFAULT '',  -- why
    state              text NOT NULL DEFAULT 'PENDING' CHECK (state IN
                       ('PENDING', 'REMOVING', 'RETRYING', 'DONE', 'FAILED', 'CANCELLED')),
    reason             text NOT NULL DEFAULT '',
    purge_after        timestamptz,   -- of a study that is deleted: what is left of it goes then
    purged_at          timestamptz,
    restored_at        timestamptz,   -- by people, or since something of it has come again
    attempts           integer NOT NULL DEFAULT 0,
    tries              integer NOT NULL DEFAULT 0,
    next_at            timestamptz NOT NULL DEFAULT now(),
    wait_seconds       double precision NOT NULL DEFAULT 0,
    lease_owner        text NOT NULL DEFAULT '',
    lease_until        timestamptz,
    requested_by       text NOT NULL DEFAULT '',
    traceparent        text NOT NULL DEFAULT '',
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    finished_at        timestamptz
);
CREATE INDEX removal_due ON removal (created_at) WHERE state IN ('PENDING', 'REMOVING', 'RETRYING');
CREATE INDEX removal_newest ON removal (created_at DESC, id DESC);
CREATE INDEX removal_purge ON removal (purge_after)
    WHERE purge_after IS NOT NULL AND purged_at IS NULL AND restored_at IS NULL;
CREATE INDEX removal_study ON removal (study_instance_uid);

GRANT SELECT, INSERT, UPDATE, DELETE ON removal TO darkroom_metadata;
GRANT SELECT ON removal TO darkroom_api;
