-- Lists of studies are narrowed by what people say of them: index.listing has it, too. Whichever release writes,
-- this trigger keeps it there, as soon as the schema `index` has that table.
CREATE FUNCTION list_examination() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF to_regclass('index.listing') IS NULL THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'DELETE' THEN
        UPDATE index.listing l SET exam_status = 'pending', physician_key = NULL
            WHERE l.study_instance_uid = OLD.study_instance_uid;
    ELSE
        UPDATE index.listing l SET exam_status = NEW.exam_status, physician_key = NEW.physician_key
            WHERE l.study_instance_uid = NEW.study_instance_uid
            AND (l.exam_status, l.physician_key) IS DISTINCT FROM (NEW.exam_status, NEW.physician_key);
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION list_examination FROM PUBLIC;

CREATE TRIGGER listed AFTER INSERT ON examination FOR EACH ROW EXECUTE FUNCTION list_examination();
CREATE TRIGGER listed_anew AFTER UPDATE ON examination FOR EACH ROW
    WHEN ((OLD.exam_status, OLD.physician_key) IS DISTINCT FROM (NEW.exam_status, NEW.physician_key))
    EXECUTE FUNCTION list_examination();
CREATE TRIGGER unlisted AFTER DELETE ON examination FOR EACH ROW EXECUTE FUNCTION list_examination();

DO $$
BEGIN
    IF to_regclass('index.listing') IS NOT NULL THEN
        UPDATE index.listing l SET exam_status = e.exam_status, physician_key = e.physician_key
            FROM api.examination e WHERE e.study_instance_uid = l.study_instance_uid
            AND (l.exam_status, l.physician_key) IS DISTINCT FROM (e.exam_status, e.physician_key);
    END IF;
END
$$;

-- What has failed is reported by its action; most associations have not.
CREATE INDEX audit_of_failure ON audit_log (action, log_id) WHERE outcome = 'failure';
