-- Tags that people have named to search by, beside the attributes that the index always has.

CREATE TABLE tag (
    name       text PRIMARY KEY,
    spec       jsonb NOT NULL,  -- darkroom_common.specs.indexed_tags.IndexedTagSpec
    version    bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- One row, which grows with every change of `tag`. Whoever adds instances holds it FOR SHARE from when
-- it looks at the tags until its commit: what a job has not seen has been tagged by its writer.
CREATE TABLE tag_state (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    generation bigint NOT NULL DEFAULT 0
);
INSERT INTO tag_state DEFAULT VALUES;

-- What objects say of the tags; see darkroom_common.index.tags. Rows of an instance have what each says
-- for itself; rows of a series what its objects say of it and of its study, once each.
CREATE TABLE tagged (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    series_id   bigint NOT NULL,
    instance_id bigint,
    digest      bytea NOT NULL,  -- blind token of phi
    phi         bytea NOT NULL,
    phi_key     smallint NOT NULL,
    blind       bytea[] NOT NULL
);
CREATE UNIQUE INDEX tagged_values ON tagged (series_id, (coalesce(instance_id, 0)), digest);
CREATE INDEX tagged_instance ON tagged (instance_id) WHERE instance_id IS NOT NULL;
CREATE INDEX tagged_blind ON tagged USING gin (blind);

-- Tags changed: every study is gone through once.
CREATE TABLE tag_job (
    id           text PRIMARY KEY,
    action       text NOT NULL DEFAULT 'tags',
    state        text NOT NULL DEFAULT 'PENDING' CHECK (state IN
                 ('PENDING', 'INDEXING', 'PAUSED', 'RETRYING', 'DONE', 'FAILED', 'CANCELLED')),
    reason       text NOT NULL DEFAULT '',
    cursor       bigint NOT NULL DEFAULT 0,  -- id of the last study that is done
    studies      bigint NOT NULL DEFAULT 0,
    instances    bigint NOT NULL DEFAULT 0,
    total        bigint,                     -- studies when it began
    attempts     integer NOT NULL DEFAULT 0,
    tries        integer NOT NULL DEFAULT 0,
    next_at      timestamptz NOT NULL DEFAULT now(),
    wait_seconds double precision NOT NULL DEFAULT 0,
    lease_owner  text NOT NULL DEFAULT '',
    lease_until  timestamptz,
    traceparent  text NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz
);
CREATE INDEX tag_job_due ON tag_job (created_at) WHERE state IN ('PENDING', 'INDEXING', 'RETRYING');
CREATE INDEX tag_job_newest ON tag_job (created_at DESC, id DESC);

CREATE FUNCTION tags_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE index.tag_state SET generation = generation + 1;
    INSERT INTO index.tag_job (id) VALUES (replace(gen_random_uuid()::text, '-', ''));
    RETURN NULL;
END$$;
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tag
    FOR EACH STATEMENT EXECUTE FUNCTION tags_changed();

-- Series of which an object was written anew, moved or removed, by whomever: they are gone through again.
CREATE TABLE tag_again (
    series_id bigint PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX tag_again_at ON tag_again (at);
CREATE FUNCTION tag_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM index.tag) OR EXISTS (SELECT FROM index.tagged) THEN
        INSERT INTO index.tag_again (series_id)
            SELECT DISTINCT one FROM unnest(ARRAY[OLD.series_id, NEW.series_id]) AS one
            WHERE one IS NOT NULL ORDER BY one ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END$$;
CREATE TRIGGER tag_again AFTER UPDATE OF header, series_id ON instance FOR EACH ROW
    WHEN (OLD.header IS DISTINCT FROM NEW.header OR OLD.series_id IS DISTINCT FROM NEW.series_id)
    EXECUTE FUNCTION tag_again();
CREATE FUNCTION tags_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM index.tagged WHERE instance_id = OLD.id;
    IF EXISTS (SELECT FROM index.tagged WHERE series_id = OLD.series_id) THEN
        INSERT INTO index.tag_again (series_id) VALUES (OLD.series_id) ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END$$;
CREATE TRIGGER tags_gone AFTER DELETE ON instance FOR EACH ROW EXECUTE FUNCTION tags_gone();
CREATE FUNCTION tags_of_series_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM index.tagged WHERE series_id = OLD.id;
    RETURN NULL;
END$$;
CREATE TRIGGER tags_gone AFTER DELETE ON series FOR EACH ROW EXECUTE FUNCTION tags_of_series_gone();
CREATE TRIGGER tags_gone AFTER DELETE ON series_beside FOR EACH ROW
    EXECUTE FUNCTION tags_of_series_gone();

ALTER TABLE change ADD COLUMN before jsonb, ADD COLUMN after jsonb,
    DROP CONSTRAINT change_kind_check,
    ADD CONSTRAINT change_kind_check CHECK (kind IN ('conflict', 'edit', 'removal', 'tag', 'tag_job'));

GRANT SELECT, INSERT, UPDATE, DELETE ON tag, tag_state, tagged, tag_job, tag_again
    TO darkroom_metadata;
GRANT SELECT ON tag, tag_job, tagged TO darkroom_api;
GRANT SELECT ON tag, tagged TO darkroom_transmit, darkroom_print, darkroom_ingest;
