-- Studies that nobody may delete, whatever their age. Writer: darkroom_api; metadata looks before it
-- deletes and before it purges.
CREATE TABLE legal_hold (
    study_instance_uid text PRIMARY KEY,
    by                 text NOT NULL,
    at                 timestamptz NOT NULL DEFAULT clock_timestamp(),
    sealed             text NOT NULL  -- why
);
CREATE INDEX legal_hold_newest ON legal_hold (at DESC, study_instance_uid DESC);

GRANT SELECT, INSERT, DELETE ON legal_hold TO darkroom_api;
GRANT USAGE ON SCHEMA api TO darkroom_metadata;
GRANT SELECT ON legal_hold TO darkroom_metadata;
