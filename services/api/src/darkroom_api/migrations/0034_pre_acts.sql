-- What was done with something that is there already, by the `Idempotency-Key` of the request: the same request within
-- a day does it once. Writer and reader: darkroom_api.

CREATE TABLE act (
    user_id         uuid NOT NULL,
    idempotency_key bytea NOT NULL,             -- HMAC
    fingerprint     bytea NOT NULL,             -- HMAC of the request
    said            text NOT NULL DEFAULT '',   -- what the answer is made of again: ids and numbers
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, idempotency_key)
);
CREATE INDEX act_oldest ON act (created_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON act TO darkroom_api;
