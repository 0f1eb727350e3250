-- Which studies lie in the slow store of two, and what moves and recalls them. Without a row a study
-- is in the fast one.
CREATE TABLE tier (
    study_id   bigint PRIMARY KEY,  -- of study or one of its heirs
    version    bigint NOT NULL,     -- of the study as it was moved: what has come since is in the fast store
    moved_at   timestamptz NOT NULL DEFAULT now(),
    keep_until timestamptz          -- recalled: in the fast store as well, until then
);
CREATE INDEX tier_recalled ON tier (keep_until) WHERE keep_until IS NOT NULL;

CREATE TABLE tier_job (
    id                 text PRIMARY KEY,
    action             text NOT NULL CHECK (action IN ('move', 'recall')),
    study_instance_uid text NOT NULL DEFAULT '',  -- empty: all that a night moves
    state              text NOT NULL DEFAULT 'PENDING' CHECK (state IN
                       ('PENDING', 'MOVING', 'RETRYING', 'DONE', 'FAILED', 'CANCELLED')),
    reason             text NOT NULL DEFAULT '',
    studies            bigint NOT NULL DEFAULT 0,
    objects            bigint NOT NULL DEFAULT 0,
    bytes              bigint NOT NULL DEFAULT 0,  -- that were copied
    total_bytes        bigint NOT NULL DEFAULT 0,  -- of a recall
    bad                bigint NOT NULL DEFAULT 0,  -- objects that are not as they were received: they stay
    place              bigint NOT NULL DEFAULT 0,  -- row of the last study that a night has looked at
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
CREATE INDEX tier_job_due ON tier_job (created_at) WHERE state IN ('PENDING', 'MOVING', 'RETRYING');
CREATE INDEX tier_job_newest ON tier_job (created_at DESC, id DESC);

GRANT SELECT, INSERT, UPDATE, DELETE ON tier, tier_job TO darkroom_metadata;
GRANT SELECT ON tier, tier_job TO darkroom_api;
