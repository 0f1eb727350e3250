-- What objects that are made for a request with an `Idempotency-Key` are known by: the same request
-- within a day makes the same bytes. Writer and reader: darkroom_api.

CREATE TABLE made_object (
    sop_instance_uid    text PRIMARY KEY,
    series_instance_uid text NOT NULL,
    user_id             uuid NOT NULL,
    idempotency_key     bytea NOT NULL,        -- HMAC
    fingerprint         bytea NOT NULL,        -- HMAC of the request
    created_at          timestamptz NOT NULL,  -- by the clock of the process: it stands in the object
    UNIQUE (user_id, idempotency_key)
);
CREATE INDEX made_object_oldest ON made_object (created_at);

GRANT SELECT, INSERT, DELETE ON made_object TO darkroom_api;
