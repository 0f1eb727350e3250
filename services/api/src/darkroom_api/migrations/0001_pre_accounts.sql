-- People, what they may do, and their sessions. Writer: darkroom_api.

CREATE TABLE role (
    name    text PRIMARY KEY,
    title   text NOT NULL,
    builtin boolean NOT NULL DEFAULT false
);

CREATE TABLE role_permission (
    role       text NOT NULL REFERENCES role (name) ON DELETE CASCADE,
    permission text NOT NULL,  -- '*' is every permission
    PRIMARY KEY (role, permission)
);

INSERT INTO role (name, title, builtin) VALUES
    ('system_admin', 'System Administrator', true),
    ('medical_admin', 'Medical Administrator', true),
    ('radiologist', 'Radiologist', true),
    ('technician', 'Technician', true),
    ('viewer', 'Read-Only Viewer', true);

INSERT INTO role_permission (role, permission) VALUES
    ('system_admin', '*'),
    ('medical_admin', 'studies:read'), ('medical_admin', 'studies:write'),
    ('medical_admin', 'studies:delete'), ('medical_admin', 'exports:create'),
    ('medical_admin', 'exports:download'), ('medical_admin', 'bulk:update'),
    ('medical_admin', 'bulk:assign'), ('medical_admin', 'users:read'),
    ('medical_admin', 'users:write'), ('medical_admin', 'audit:read'),
    ('radiologist', 'studies:read'), ('radiologist', 'studies:write'),
    ('radiologist', 'exports:create'), ('radiologist', 'exports:download'),
    ('radiologist', 'bulk:assign'),
    ('technician', 'studies:read'), ('technician', 'studies:write'),
    ('viewer', 'studies:read'), ('viewer', 'exports:download');

CREATE TABLE app_user (
    id                  uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    username            text NOT NULL,
    username_key        text NOT NULL UNIQUE,  -- case folded
    password_hash       text NOT NULL,         -- Argon2id
    full_name           text NOT NULL DEFAULT '',
    email               text NOT NULL DEFAULT '',
    active              boolean NOT NULL DEFAULT true,
    created_at          timestamptz NOT NULL DEFAULT now(),
    password_changed_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE user_role (
    user_id uuid NOT NULL REFERENCES app_user (id) ON DELETE CASCADE,
    role    text NOT NULL REFERENCES role (name),
    PRIMARY KEY (user_id, role)
);

-- A login and all refresh tokens that grow from it: the family that reuse of one revokes.
CREATE TABLE session (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id    uuid NOT NULL REFERENCES app_user (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX session_of_user ON session (user_id);
CREATE INDEX session_expires ON session (expires_at);

CREATE TABLE refresh_token (
    token_hash bytea PRIMARY KEY,  -- SHA-256
    session_id uuid NOT NULL REFERENCES session (id) ON DELETE CASCADE,
    issued_at  timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX refresh_token_session ON refresh_token (session_id);

CREATE TABLE revoked_token (
    jti        uuid PRIMARY KEY,
    expires_at timestamptz NOT NULL
);
CREATE INDEX revoked_token_expires ON revoked_token (expires_at);

-- Attempts to log in, by name, whether or not somebody has it: both lock alike.
CREATE TABLE login_attempt (
    name_hash bytea PRIMARY KEY,
    failures  integer NOT NULL,
    last_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX login_attempt_age ON login_attempt (last_at);

GRANT USAGE ON SCHEMA api TO darkroom_api;
GRANT SELECT ON role, role_permission TO darkroom_api;
GRANT SELECT, INSERT ON app_user, user_role TO darkroom_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON session, refresh_token, login_attempt TO darkroom_api;
GRANT SELECT, INSERT, DELETE ON revoked_token TO darkroom_api;
