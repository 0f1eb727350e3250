-- Orders of information systems: what was taken is taken once. Writer: darkroom_ingest.

ALTER TABLE worklist ADD COLUMN ordered_at timestamptz;  -- as scheduled_at; null: created_at

CREATE TABLE taken (
    key      bytea PRIMARY KEY,     -- blind token of a message, or of a file
    taken_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX taken_oldest ON taken (taken_at);

GRANT SELECT, INSERT, DELETE ON taken TO darkroom_ingest;
