-- Verification: what was read back when, what was found, and how far a run has come.

-- verified_at: when the object was last read back whole, well or not.
-- head_sha256: of the bytes before the data set, as the indexer read them; sha256 does not cover them.
-- Old code leaves these columns empty.
ALTER TABLE instance ADD COLUMN verified_at timestamptz,
                     ADD COLUMN head_sha256 bytea;
ALTER TABLE conflict ADD COLUMN verified_at timestamptz,
                     ADD COLUMN head_sha256 bytea,
                     ADD COLUMN data_set_offset bigint;

-- Who has waited longest comes first.
CREATE INDEX instance_verification ON instance ((coalesce(verified_at, indexed_at)), id);
CREATE INDEX conflict_verification ON conflict ((coalesce(verified_at, received_at)), id);
-- Does a row name this object? Keys are long and only compared, so a hash is enough.
CREATE INDEX instance_object ON instance USING hash (object_key);
CREATE INDEX conflict_object ON conflict USING hash (object_key);

-- Something wrong with one object; open until resolved_at. The key tells nothing of the patient.
CREATE TABLE verification_finding (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    object_key  text NOT NULL,
    kind        text NOT NULL CHECK (kind IN
                ('missing-object', 'altered-object', 'wrong-size', 'orphan-object', 'unreadable')),
    instance_id bigint REFERENCES instance (id) ON DELETE SET NULL,  -- empty: no row names the object
    receipt     text,
    sha256      bytea,  -- of what was read as the data set; empty when it was not read
    size        bigint, -- bytes of the whole object; empty when it has none
    first_seen  timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen   timestamptz NOT NULL DEFAULT clock_timestamp(),
    repaired_at timestamptz,  -- when it was last published again
    resolved_at timestamptz
);
CREATE UNIQUE INDEX verification_finding_open ON verification_finding (object_key, kind)
    WHERE resolved_at IS NULL;

-- One pass over objects or rows. A run that is 'running' is gone on with by whoever asks for the same.
CREATE TABLE verification_run (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind     text NOT NULL CHECK (kind IN ('contents', 'rows', 'objects')),
    scope    text NOT NULL,                      -- 'due', 'all' or 'since <time>'
    started  timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished timestamptz,
    due      timestamptz NOT NULL,               -- contents: what was last read back before this
    since    timestamptz,                        -- contents: only what was received since then
    cursor   text NOT NULL DEFAULT '',           -- rows, objects: the last one looked at
    checked  bigint NOT NULL DEFAULT 0,
    bytes    bigint NOT NULL DEFAULT 0,
    findings bigint NOT NULL DEFAULT 0,
    state    text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'finished', 'abandoned'))
);
CREATE UNIQUE INDEX verification_run_running ON verification_run (kind, scope)
    WHERE state = 'running';
CREATE INDEX verification_run_last ON verification_run (kind, finished DESC);

GRANT SELECT, INSERT, UPDATE, DELETE ON verification_finding, verification_run TO darkroom_metadata;
GRANT SELECT ON verification_finding, verification_run TO darkroom_api;
