-- Where somebody has signed in from: failures of others under that name do not lock these out.
-- `login_attempt.name_hash` is from now on a digest of a name with an address or a device, or of a name.

CREATE TABLE known_device (
    user_id uuid NOT NULL REFERENCES app_user (id) ON DELETE CASCADE,
    device  bytea NOT NULL,  -- SHA-256 of an address, or of the secret in a cookie
    last_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, device)
);
CREATE INDEX known_device_age ON known_device (last_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON known_device TO darkroom_api;
