-- People by REST, second factors, API keys, sessions of browsers, sign-in by OpenID Connect.
ALTER TABLE app_user
    ADD COLUMN version       bigint NOT NULL DEFAULT 1,
    ADD COLUMN updated_at    timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN last_login_at timestamptz;
CREATE UNIQUE INDEX app_user_email ON app_user (lower(email)) WHERE email <> '';
CREATE INDEX user_role_of ON user_role (role);

ALTER TABLE role
    ADD COLUMN version    bigint NOT NULL DEFAULT 1,
    ADD COLUMN created_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now();

ALTER TABLE session
    ADD COLUMN browser    boolean NOT NULL DEFAULT false,  -- its tokens are in cookies
    ADD COLUMN method     text NOT NULL DEFAULT 'password',
    ADD COLUMN address    text NOT NULL DEFAULT '',
    ADD COLUMN user_agent text NOT NULL DEFAULT '',
    ADD COLUMN last_at    timestamptz NOT NULL DEFAULT now();  -- of a request, to a minute

CREATE TABLE totp (
    user_id      uuid PRIMARY KEY REFERENCES app_user (id) ON DELETE CASCADE,
    sealed       text NOT NULL,            -- the secret, under PHI_KEYS
    confirmed_at timestamptz,              -- from then on a code is asked for
    last_step    bigint NOT NULL DEFAULT 0 -- of the last code that was taken: none is taken twice
);

CREATE TABLE recovery_code (
    user_id   uuid NOT NULL REFERENCES totp (user_id) ON DELETE CASCADE,
    code_hash bytea NOT NULL,  -- SHA-256 of 120 random bits
    PRIMARY KEY (user_id, code_hash)
);

CREATE TABLE api_key (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id      uuid NOT NULL REFERENCES app_user (id) ON DELETE CASCADE,
    name         text NOT NULL,
    key_hash     bytea NOT NULL UNIQUE,  -- SHA-256
    permissions  text[] NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    last_used_at timestamptz,            -- to a minute
    revoked_at   timestamptz
);
CREATE INDEX api_key_of_user ON api_key (user_id, created_at);
CREATE INDEX api_key_expires ON api_key (expires_at);

-- Who somebody is at a provider of OpenID Connect.
CREATE TABLE identity (
    issuer     text NOT NULL,
    subject    text NOT NULL,
    user_id    uuid NOT NULL REFERENCES app_user (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX identity_of_user ON identity (user_id);

-- What somebody may do now.
CREATE VIEW user_rights AS
    SELECT u.id AS user_id,
        ARRAY(SELECT role FROM user_role r WHERE r.user_id = u.id ORDER BY role) AS roles,
        ARRAY(SELECT DISTINCT p.permission FROM user_role r JOIN role_permission p USING (role)
            WHERE r.user_id = u.id ORDER BY p.permission) AS permissions
    FROM app_user u;

GRANT SELECT ON user_rights TO darkroom_api;
GRANT UPDATE, DELETE ON app_user, user_role TO darkroom_api;
GRANT INSERT, UPDATE, DELETE ON role, role_permission TO darkroom_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON totp, recovery_code, api_key TO darkroom_api;
GRANT SELECT, INSERT, DELETE ON identity TO darkroom_api;
