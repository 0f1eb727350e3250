-- What lists of studies are narrowed by and sorted by, in a narrow row of each study that is not deleted: the
-- newest of a status, a work status or a physician are found in one index, however few they are. Triggers keep
-- it, whichever release writes; what people say of a study (api.examination) comes from the trigger of that table.

CREATE TABLE listing (
    study_id           bigint PRIMARY KEY,   -- of study or one of its heirs
    study_instance_uid text NOT NULL,
    study_date         date,
    status             text NOT NULL,
    modalities         text[] NOT NULL,
    calling_ae_titles  text[] NOT NULL,
    exam_status        text NOT NULL DEFAULT 'pending',
    physician_key      bytea                 -- blind token of the whole name
);

CREATE FUNCTION list_study() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    said_status    text;
    said_physician bytea;
BEGIN
    IF TG_OP = 'DELETE' THEN
        -- A row that goes from one of the tables to the other keeps its id.
        DELETE FROM index.listing l WHERE l.study_id = OLD.id
            AND NOT EXISTS (SELECT FROM index.study s WHERE s.id = OLD.id AND s.status <> 'deleted');
        RETURN NULL;
    END IF;
    IF NEW.status = 'deleted' THEN
        DELETE FROM index.listing l WHERE l.study_id = NEW.id;
        RETURN NULL;
    END IF;
    IF to_regclass('api.examination') IS NOT NULL THEN
        IF TG_TABLE_NAME = 'study_beside' THEN
            -- The UID is known to people: what is said of it at this moment is waited for.
            INSERT INTO api.examination (study_instance_uid, version) VALUES (NEW.study_instance_uid, 0)
                ON CONFLICT DO NOTHING;
        END IF;
        SELECT e.exam_status, e.physician_key INTO said_status, said_physician
            FROM api.examination e WHERE e.study_instance_uid = NEW.study_instance_uid FOR SHARE;
    END IF;
    INSERT INTO index.listing AS l VALUES (NEW.id, NEW.study_instance_uid, NEW.study_date, NEW.status,
            NEW.modalities, NEW.calling_ae_titles, coalesce(said_status, 'pending'), said_physician)
        ON CONFLICT (study_id) DO UPDATE SET study_instance_uid = excluded.study_instance_uid,
            study_date = excluded.study_date, status = excluded.status,
            modalities = excluded.modalities, calling_ae_titles = excluded.calling_ae_titles,
            exam_status = excluded.exam_status, physician_key = excluded.physician_key;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION list_study FROM PUBLIC;

CREATE TRIGGER listed AFTER INSERT ON study FOR EACH ROW EXECUTE FUNCTION list_study();
CREATE TRIGGER listed_anew AFTER UPDATE ON study FOR EACH ROW
    WHEN ((OLD.study_instance_uid, OLD.study_date, OLD.status, OLD.modalities, OLD.calling_ae_titles)
          IS DISTINCT FROM
          (NEW.study_instance_uid, NEW.study_date, NEW.status, NEW.modalities, NEW.calling_ae_titles))
    EXECUTE FUNCTION list_study();
CREATE TRIGGER unlisted AFTER DELETE ON study FOR EACH ROW EXECUTE FUNCTION list_study();
CREATE TRIGGER listed AFTER INSERT ON study_beside FOR EACH ROW EXECUTE FUNCTION list_study();
CREATE TRIGGER listed_anew AFTER UPDATE ON study_beside FOR EACH ROW
    WHEN ((OLD.study_instance_uid, OLD.study_date, OLD.status, OLD.modalities, OLD.calling_ae_titles)
          IS DISTINCT FROM
          (NEW.study_instance_uid, NEW.study_date, NEW.status, NEW.modalities, NEW.calling_ae_titles))
    EXECUTE FUNCTION list_study();
CREATE TRIGGER unlisted AFTER DELETE ON study_beside FOR EACH ROW EXECUTE FUNCTION list_study();

-- What is there. The two schemas are migrated in any order: the other one sees to it when it comes later.
DO $$
BEGIN
    IF to_regclass('api.examination') IS NULL THEN
        INSERT INTO index.listing
            SELECT id, study_instance_uid, study_date, status, modalities, calling_ae_titles
            FROM index.study WHERE status <> 'deleted';
    ELSE
        LOCK TABLE api.examination IN SHARE MODE;
        INSERT INTO index.listing
            SELECT s.id, s.study_instance_uid, s.study_date, s.status, s.modalities, s.calling_ae_titles,
                coalesce(e.exam_status, 'pending'), e.physician_key
            FROM index.study s LEFT JOIN api.examination e USING (study_instance_uid)
            WHERE s.status <> 'deleted';
    END IF;
END
$$;
CREATE INDEX listing_date ON listing (study_date DESC NULLS LAST, study_id DESC);
CREATE INDEX listing_status ON listing (status, study_date DESC NULLS LAST, study_id DESC);
CREATE INDEX listing_exam_status ON listing (exam_status, study_date DESC NULLS LAST, study_id DESC);
CREATE INDEX listing_physician ON listing (physician_key, study_date DESC NULLS LAST, study_id DESC)
    WHERE physician_key IS NOT NULL;
CREATE INDEX listing_sets ON listing USING gin (modalities, calling_ae_titles);
CREATE INDEX listing_uid ON listing (study_instance_uid);
ANALYZE listing;

GRANT SELECT ON listing
    TO darkroom_metadata, darkroom_api, darkroom_transmit, darkroom_print, darkroom_ingest;

-- A word together with a modality or a sender is found in one index: what is frequent in it is skipped.
CREATE INDEX study_search ON study USING gin (blind, modalities, calling_ae_titles);
CREATE INDEX study_beside_search ON study_beside USING gin (blind, modalities, calling_ae_titles);
DROP INDEX study_blind, study_modalities, study_sources;
DROP INDEX study_beside_blind, study_beside_modalities, study_beside_sources;
