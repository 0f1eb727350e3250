-- Replication (STO-07): what a second store, or a second site, lacks yet. A row is written in the
-- transaction of the change itself, by triggers: no way to change the index can forget it.
-- few rows: verification_run, verification_finding.

CREATE TABLE replication_site (
    here    boolean PRIMARY KEY DEFAULT true CHECK (here),  -- one row
    name    text NOT NULL,     -- of this site
    is_on   boolean NOT NULL,
    sent    bigint NOT NULL DEFAULT 0,   -- the last number of what is told to another site
    swept   text NOT NULL DEFAULT '',    -- how far rows were compared with what is replicated
    swept_at timestamptz
);

CREATE TABLE replication_due (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind               text NOT NULL CHECK (kind IN
                       ('object', 'copy', 'gone', 'edit', 'removal', 'resolution', 'hold')),
    study_instance_uid text,           -- empty: of a patient, or of no study
    subject            text NOT NULL,  -- the key of an object, or the id of what was done
    size               bigint NOT NULL DEFAULT 0,
    body               jsonb NOT NULL DEFAULT '{}',
    reason             text NOT NULL DEFAULT '',  -- why it could not be sent when it was tried
    created_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    next_at            timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX replication_due_subject ON replication_due (subject);

-- What the second store has, and when it was last read back from there.
CREATE TABLE replicated (
    object_key  text PRIMARY KEY,
    sha256      bytea NOT NULL,   -- of the whole object
    size        bigint NOT NULL,  -- of the whole object
    verified_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX replicated_verified ON replicated (verified_at);

-- What has come from another site: it has it already.
CREATE TABLE replication_taken (
    object_key text PRIMARY KEY
);

CREATE FUNCTION replication_on() RETURNS boolean LANGUAGE sql STABLE AS
    $$ SELECT coalesce((SELECT is_on FROM index.replication_site), false) $$;

CREATE FUNCTION replicate_instances() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF index.replication_on() THEN
        INSERT INTO index.replication_due (kind, study_instance_uid, subject, size)
        SELECT 'object', s.study_instance_uid, a.object_key, a.size FROM added a
        JOIN index.series e ON e.id = a.series_id JOIN index.study s ON s.id = e.study_id
        WHERE NOT EXISTS (SELECT FROM index.replication_taken t WHERE t.object_key = a.object_key)
        ORDER BY a.id;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION replicate_conflicts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF index.replication_on() THEN
        INSERT INTO index.replication_due (kind, study_instance_uid, subject, size)
        SELECT CASE WHEN a.kind = 'instance' THEN 'object' ELSE 'copy' END,
            a.study_instance_uid, a.object_key, a.size FROM added a
        WHERE NOT EXISTS (SELECT FROM index.replication_taken t WHERE t.object_key = a.object_key)
        ORDER BY a.id;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION replicate_rewritten() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF index.replication_on() THEN
        INSERT INTO index.replication_due (kind, subject, size)
        VALUES ('copy', NEW.object_key, NEW.size);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION replicate_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF index.replication_on() THEN
        INSERT INTO index.replication_due (kind, subject)
        SELECT DISTINCT 'gone', g.object_key FROM gone g;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION replicate_discarded() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF index.replication_on() THEN
        INSERT INTO index.replication_due (kind, subject) VALUES ('gone', NEW.object_key);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER replicate_added AFTER INSERT ON instance
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION replicate_instances();
CREATE TRIGGER replicate_added AFTER INSERT ON conflict
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION replicate_conflicts();
CREATE TRIGGER replicate_rewritten AFTER UPDATE OF object_key ON instance FOR EACH ROW
    WHEN (OLD.object_key IS DISTINCT FROM NEW.object_key) EXECUTE FUNCTION replicate_rewritten();
CREATE TRIGGER replicate_gone AFTER DELETE ON instance
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION replicate_gone();
CREATE TRIGGER replicate_gone AFTER DELETE ON conflict
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION replicate_gone();
CREATE TRIGGER replicate_gone AFTER DELETE ON removed_object
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION replicate_gone();
CREATE TRIGGER replicate_discarded AFTER UPDATE OF removed_at ON conflict FOR EACH ROW
    WHEN (NEW.removed_at IS NOT NULL AND OLD.removed_at IS NULL)
    EXECUTE FUNCTION replicate_discarded();

-- Verification reads the second store back, too, and repairs each from the other.
ALTER TABLE verification_run DROP CONSTRAINT verification_run_kind_check,
    ADD CONSTRAINT verification_run_kind_check
        CHECK (kind IN ('contents', 'rows', 'objects', 'replica'));
ALTER TABLE verification_finding DROP CONSTRAINT verification_finding_kind_check,
    ADD CONSTRAINT verification_finding_kind_check CHECK (kind IN ('missing-object',
        'altered-object', 'wrong-size', 'orphan-object', 'unreadable', 'replica-damaged')),
    ADD COLUMN tried_at timestamptz;  -- when it was last tried to repair it

GRANT SELECT, INSERT, UPDATE, DELETE ON replication_site, replication_due, replicated,
    replication_taken TO darkroom_metadata;
GRANT SELECT ON replication_site, replication_due TO darkroom_api;
