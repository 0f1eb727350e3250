-- How far a reading of every header again has come. Old code does not know the table.
CREATE TABLE reindex_run (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope     text NOT NULL,                 -- 'affected', 'all' or 'study <uid>'
    started   timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished  timestamptz,
    cursor    bigint NOT NULL DEFAULT 0,     -- id of the last study that is done
    studies   bigint NOT NULL DEFAULT 0,
    instances bigint NOT NULL DEFAULT 0,
    changed   bigint NOT NULL DEFAULT 0,     -- instances whose rows were brought up to date
    skipped   bigint NOT NULL DEFAULT 0,     -- instances whose objects are missing
    state     text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'finished'))
);
CREATE UNIQUE INDEX reindex_run_running ON reindex_run (scope) WHERE state = 'running';

GRANT SELECT, INSERT, UPDATE, DELETE ON reindex_run TO darkroom_metadata;
