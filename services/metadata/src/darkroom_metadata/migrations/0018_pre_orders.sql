-- When studies were ordered, as ingest tells it of its worklist, which it tidies: kept here for good. `listing` has the
-- order time of each examination, by which REST searches and sorts: of its order, else the study's own date and time.
-- Writers and readers of the listing wait for about a minute a million studies.

CREATE TABLE study_order (
    study_instance_uid text PRIMARY KEY,
    ordered_at         timestamptz,      -- null: there was an order, and there is none any more
    version            bigint NOT NULL   -- of ingest; what is older than what is known is passed over
);
GRANT SELECT ON study_order TO darkroom_metadata, darkroom_api, darkroom_transmit, darkroom_print, darkroom_ingest;

ALTER TABLE study ADD COLUMN utc_offset smallint;  -- minutes; null: TimezoneOffsetFromUTC is not there
ALTER TABLE listing ADD COLUMN ordered timestamp;  -- in UTC

CREATE FUNCTION ordered_of(uid text, day date, clock time, utc_offset smallint) RETURNS timestamp
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(
        (SELECT o.ordered_at AT TIME ZONE 'UTC' FROM index.study_order o WHERE o.study_instance_uid = uid),
        CASE WHEN day IS NOT NULL THEN
            greatest('0001-01-01'::timestamp, least('9999-12-31 23:59:59'::timestamp,  -- the days that there are
                day + coalesce(clock, '00:00') - make_interval(mins => coalesce(utc_offset, 0))))
        END)
$$;
REVOKE ALL ON FUNCTION ordered_of FROM PUBLIC;

CREATE FUNCTION learn_order(uid text, at timestamptz, of bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(uid, 18));
    INSERT INTO index.study_order AS o VALUES (uid, at, of)
        ON CONFLICT (study_instance_uid) DO UPDATE SET ordered_at = excluded.ordered_at, version = excluded.version
        WHERE o.version < excluded.version;
    IF FOUND THEN
        UPDATE index.listing l
            SET ordered = index.ordered_of(uid, s.study_date, s.study_time, s.utc_offset)
            FROM index.study s WHERE l.study_instance_uid = uid AND s.id = l.study_id;
    END IF;
END
$$;
REVOKE ALL ON FUNCTION learn_order FROM PUBLIC;
GRANT EXECUTE ON FUNCTION learn_order TO darkroom_metadata;

CREATE OR REPLACE FUNCTION list_study() RETURNS trigger
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
    -- An order may be learnt at this moment: it is waited for, and then seen.
    PERFORM pg_advisory_xact_lock(hashtextextended(NEW.study_instance_uid, 18));
    INSERT INTO index.listing AS l (study_id, study_instance_uid, study_date, status, modalities, calling_ae_titles,
            exam_status, physician_key, ordered)
        VALUES (NEW.id, NEW.study_instance_uid, NEW.study_date, NEW.status, NEW.modalities, NEW.calling_ae_titles,
            coalesce(said_status, 'pending'), said_physician,
            index.ordered_of(NEW.study_instance_uid, NEW.study_date, NEW.study_time, NEW.utc_offset))
        ON CONFLICT (study_id) DO UPDATE SET study_instance_uid = excluded.study_instance_uid,
            study_date = excluded.study_date, status = excluded.status,
            modalities = excluded.modalities, calling_ae_titles = excluded.calling_ae_titles,
            exam_status = excluded.exam_status, physician_key = excluded.physician_key, ordered = excluded.ordered;
    RETURN NULL;
END
$$;

DROP TRIGGER listed_anew ON study;
CREATE TRIGGER listed_anew AFTER UPDATE ON study FOR EACH ROW
    WHEN ((OLD.study_instance_uid, OLD.study_date, OLD.study_time, OLD.utc_offset, OLD.status, OLD.modalities,
           OLD.calling_ae_titles)
          IS DISTINCT FROM
          (NEW.study_instance_uid, NEW.study_date, NEW.study_time, NEW.utc_offset, NEW.status, NEW.modalities,
           NEW.calling_ae_titles))
    EXECUTE FUNCTION list_study();
DROP TRIGGER listed_anew ON study_beside;
CREATE TRIGGER listed_anew AFTER UPDATE ON study_beside FOR EACH ROW
    WHEN ((OLD.study_instance_uid, OLD.study_date, OLD.study_time, OLD.utc_offset, OLD.status, OLD.modalities,
           OLD.calling_ae_titles)
          IS DISTINCT FROM
          (NEW.study_instance_uid, NEW.study_date, NEW.study_time, NEW.utc_offset, NEW.status, NEW.modalities,
           NEW.calling_ae_titles))
    EXECUTE FUNCTION list_study();

UPDATE listing l SET ordered = s.study_date + coalesce(s.study_time, '00:00')
    FROM study s WHERE s.id = l.study_id AND s.study_date IS NOT NULL;
CREATE INDEX listing_ordered ON listing (ordered DESC NULLS LAST, study_id DESC)
    INCLUDE (modalities, status, exam_status);
ANALYZE listing;
