-- Two sites: each change of a study is counted by the site at which it was made, told to the other
-- one in the order in which it took effect, and carried out there once.
-- few rows: replication_site.

-- How many changes of each site a study has here: {"<site>": <count>}
CREATE TABLE replication_vector (
    study_instance_uid text PRIMARY KEY,
    counts             jsonb NOT NULL
);

-- The last word on an attribute of a study, whichever site has said it. sealed: the text.
CREATE TABLE replication_said (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    study_instance_uid text NOT NULL,
    keyword            text NOT NULL,
    at                 timestamptz NOT NULL,
    site               text NOT NULL,
    sealed             text NOT NULL,
    UNIQUE (study_instance_uid, keyword)
);

-- Edits that are done and whose words are not written down yet.
CREATE TABLE replication_unsaid (
    job text PRIMARY KEY
);

-- Jobs that carry out what another site has done: they are not told back.
CREATE TABLE replication_step (
    job  text PRIMARY KEY,
    site text NOT NULL,
    at   timestamptz NOT NULL  -- when it was done there
);

-- Deletions that were asked for here, and their counts.
CREATE TABLE replication_deletion (
    job                text PRIMARY KEY,
    study_instance_uid text NOT NULL,
    counted            bigint NOT NULL
);

-- How far another site's files are read.
CREATE TABLE replication_peer (
    name  text PRIMARY KEY,
    taken bigint NOT NULL DEFAULT 0,
    at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What another site has told and is not done here; and what could not be done, or was outvoted.
CREATE TABLE replication_told (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site               text NOT NULL,
    number             bigint NOT NULL,  -- of the file
    part               integer NOT NULL, -- in the file
    kind               text NOT NULL CHECK (kind IN ('object', 'edit', 'removal', 'resolution', 'hold')),
    study_instance_uid text,             -- empty: all of a patient's; what comes later waits for it
    at                 timestamptz NOT NULL,
    sealed             text NOT NULL,    -- the change
    state              text NOT NULL DEFAULT 'waiting'
                       CHECK (state IN ('waiting', 'working', 'outvoted', 'refused')),
    job                text NOT NULL DEFAULT '',
    reason             text NOT NULL DEFAULT '',
    next_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at           timestamptz,
    UNIQUE (site, number, part)
);
CREATE INDEX replication_told_study ON replication_told (study_instance_uid, number, part)
    WHERE state IN ('waiting', 'working');
CREATE INDEX replication_told_ended ON replication_told (ended_at DESC)
    WHERE state IN ('outvoted', 'refused');

-- Legal holds of other sites: they hold here, too.
CREATE TABLE replication_hold (
    site    text NOT NULL,
    subject text NOT NULL,  -- a study's UID
    PRIMARY KEY (site, subject)
);
CREATE INDEX replication_hold_subject ON replication_hold (subject);
-- Those of this site that were told.
CREATE TABLE replication_hold_told (
    subject text PRIMARY KEY
);

CREATE FUNCTION replication_count(uid text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    here text := (SELECT name FROM index.replication_site);
    found jsonb;
BEGIN
    INSERT INTO index.replication_vector AS v VALUES (uid, jsonb_build_object(here, 1))
    ON CONFLICT (study_instance_uid) DO UPDATE
    SET counts = v.counts || jsonb_build_object(here, coalesce((v.counts ->> here)::bigint, 0) + 1)
    RETURNING counts INTO found;
    RETURN found;
END $$;

CREATE OR REPLACE FUNCTION replicate_instances() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF index.replication_on() THEN
        WITH fresh AS MATERIALIZED (
            SELECT a.id, s.study_instance_uid AS uid, a.object_key, a.size FROM added a
            JOIN index.series e ON e.id = a.series_id JOIN index.study s ON s.id = e.study_id
            WHERE NOT EXISTS (SELECT FROM index.replication_taken t WHERE t.object_key = a.object_key)
        ), counted AS MATERIALIZED (
            SELECT uid, index.replication_count(uid) AS vector
            FROM (SELECT DISTINCT uid FROM fresh ORDER BY uid) AS studies
        )
        INSERT INTO index.replication_due (kind, study_instance_uid, subject, size, body)
        SELECT 'object', f.uid, f.object_key, f.size, jsonb_build_object('vector', c.vector)
        FROM fresh f JOIN counted c ON c.uid = f.uid ORDER BY f.id;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION replicate_edit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF index.replication_on() THEN
        INSERT INTO index.replication_unsaid VALUES (NEW.id) ON CONFLICT DO NOTHING;
        IF NOT EXISTS (SELECT FROM index.replication_step s WHERE s.job = NEW.id) THEN
            INSERT INTO index.replication_due (kind, study_instance_uid, subject, body)
            SELECT 'edit', NEW.study_instance_uid, NEW.id, jsonb_build_object('vector',
                CASE WHEN NEW.study_instance_uid IS NULL THEN '{}'::jsonb
                     ELSE index.replication_count(NEW.study_instance_uid) END);
            IF NEW.study_instance_uid IS NULL THEN
                PERFORM index.replication_count(uid) FROM (SELECT DISTINCT study_instance_uid AS uid
                    FROM index.study_change WHERE edit_id = NEW.id ORDER BY uid) AS studies;
            END IF;
        END IF;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION replicate_removal() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    vector jsonb;
BEGIN
    IF index.replication_on()
        AND NOT EXISTS (SELECT FROM index.replication_step s WHERE s.job = NEW.id)
    THEN
        vector := index.replication_count(NEW.study_instance_uid);
        INSERT INTO index.replication_due (kind, study_instance_uid, subject, body)
        VALUES ('removal', NEW.study_instance_uid, NEW.id, jsonb_build_object('vector', vector));
        IF NEW.action = 'delete' AND NEW.series_instance_uid IS NULL THEN
            INSERT INTO index.replication_deletion SELECT NEW.id, NEW.study_instance_uid,
                (vector ->> s.name)::bigint FROM index.replication_site s ON CONFLICT DO NOTHING;
        END IF;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION replicate_resolution() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF index.replication_on()
        AND NOT EXISTS (SELECT FROM index.replication_step s WHERE s.job = NEW.id)
    THEN
        INSERT INTO index.replication_due (kind, study_instance_uid, subject, body)
        SELECT 'resolution', c.study_instance_uid, NEW.id, jsonb_build_object(
            'vector', index.replication_count(c.study_instance_uid), 'conflict', jsonb_build_object(
            'kind', c.kind, 'instance', i.sop_instance_uid,
            -- what was promoted has changed places with what was in force
            'sha256', encode(CASE NEW.action WHEN 'promote' THEN i.sha256 ELSE c.sha256 END, 'hex')))
        FROM index.conflict c JOIN index.instance i ON i.id = c.instance_id
        WHERE c.id = NEW.conflict_id;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER replicate_edit AFTER UPDATE OF state ON edit FOR EACH ROW
    WHEN (NEW.state = 'DONE' AND OLD.state <> 'DONE' AND NEW.action <> 'follow'
        AND NEW.merged_key IS NULL) EXECUTE FUNCTION replicate_edit();
CREATE TRIGGER replicate_removal AFTER UPDATE OF state ON removal FOR EACH ROW
    WHEN (NEW.state = 'DONE' AND OLD.state <> 'DONE') EXECUTE FUNCTION replicate_removal();
CREATE TRIGGER replicate_removal_done AFTER INSERT ON removal FOR EACH ROW
    WHEN (NEW.state = 'DONE') EXECUTE FUNCTION replicate_removal();
CREATE TRIGGER replicate_resolution AFTER UPDATE OF state ON resolution FOR EACH ROW
    WHEN (NEW.state = 'DONE' AND OLD.state <> 'DONE') EXECUTE FUNCTION replicate_resolution();

GRANT SELECT, INSERT, UPDATE, DELETE ON replication_vector, replication_said, replication_unsaid,
    replication_step, replication_deletion, replication_peer, replication_told, replication_hold,
    replication_hold_told TO darkroom_metadata;
GRANT SELECT ON replication_peer, replication_told, replication_hold TO darkroom_api;
