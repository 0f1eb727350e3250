-- What people say of a study as an examination: its work status, and who is to read it. A study
-- without a row is pending and nobody's. Writer and reader: darkroom_api.

CREATE TABLE examination (
    study_instance_uid text PRIMARY KEY,
    exam_status        text NOT NULL DEFAULT 'pending'
                       CHECK (exam_status IN ('pending', 'in_progress', 'completed', 'cancelled')),
    physician          bytea,     -- pgp_sym_encrypt(name, key phi_key); empty: nobody is assigned
    phi_key            smallint,
    physician_key      bytea,     -- blind token of the whole name
    blind              bytea[] NOT NULL DEFAULT '{}',  -- tokens of the name
    version            bigint NOT NULL DEFAULT 1,      -- grows with every change
    updated_at         timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX examination_status ON examination (exam_status, study_instance_uid);
CREATE INDEX examination_physician ON examination (physician_key) WHERE physician_key IS NOT NULL;
CREATE INDEX examination_blind ON examination USING gin (blind);

-- Each change of the two, with what was there before; the names under their own keys.
CREATE TABLE examination_change (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    study_instance_uid text NOT NULL,
    at                 timestamptz NOT NULL DEFAULT clock_timestamp(),
    by                 text NOT NULL,
    field              text NOT NULL CHECK (field IN ('exam_status', 'physician_name')),
    old                bytea,
    old_key            smallint,
    new                bytea,
    new_key            smallint,
    reason             bytea,
    reason_key         smallint
);
CREATE INDEX examination_change_study ON examination_change (study_instance_uid, id DESC);

GRANT SELECT, INSERT, UPDATE, DELETE ON examination TO darkroom_api;
GRANT SELECT, INSERT, UPDATE ON examination_change TO darkroom_api;
