-- How far the audit log was sent to each audit record repository, in links of its chain.
CREATE TABLE audit_forwarded (
    repository text PRIMARY KEY,  -- host:port
    number     bigint NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON audit_forwarded TO darkroom_api;
