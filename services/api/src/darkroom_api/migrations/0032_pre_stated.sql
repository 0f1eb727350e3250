-- What each service says of itself in the conformance statement, as it has started last.
-- Writer and reader: darkroom_api.
CREATE TABLE stated (
    service text PRIMARY KEY,
    lines   jsonb NOT NULL,
    at      timestamptz NOT NULL  -- when it had started
);

GRANT SELECT, INSERT, UPDATE ON stated TO darkroom_api;
