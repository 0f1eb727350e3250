-- The audit log (API-05). Rows are written and read; the role of the service can do nothing else
-- with them. The code of a row is made under a key that the database never sees.

CREATE TABLE audit_log (
    log_id        uuid PRIMARY KEY,      -- version 7: grows with recorded_at
    recorded_at   timestamptz NOT NULL,
    user_id       text NOT NULL,         -- '' for the system, and for who is not signed in
    username      text NOT NULL,
    action        text NOT NULL,
    resource_type text NOT NULL,
    resource_id   text NOT NULL,
    ip_address    inet,                  -- of the client, behind trusted proxies, too
    user_agent    text NOT NULL,
    privileged    boolean NOT NULL,
    outcome       text NOT NULL CHECK (outcome IN ('success', 'failure')),
    details       json NOT NULL,         -- no PHI; json and not jsonb: the text stays as it is
    phi           bytea NOT NULL,        -- sealed under PHI_KEYS; empty for none
    key_id        smallint NOT NULL,     -- of AUDIT_KEYS
    mac           bytea NOT NULL
);
-- Newest first is the primary key backward; a time is a range of ids.
CREATE INDEX audit_of_user ON audit_log (user_id, log_id);
CREATE INDEX audit_of_action ON audit_log (action, log_id);
CREATE INDEX audit_of_resource ON audit_log (resource_id, log_id);
CREATE INDEX audit_of_type ON audit_log (resource_type, log_id);

-- Rows that are not in the chain yet.
CREATE TABLE audit_pending (log_id uuid PRIMARY KEY);

GRANT SELECT, INSERT ON audit_log TO darkroom_api;
GRANT SELECT, INSERT, DELETE ON audit_pending TO darkroom_api;
