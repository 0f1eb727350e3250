-- Runs of characters of the texts of each study, by which a search that begins with a wildcard is answered: tokens
-- of BlindIndex, as numbers. The metadata service fills them in behind whoever writes a study, whichever release;
-- until then, and where there would be too many of them, `runs` is null and every such search looks at the study.

CREATE TABLE infix (
    study_id bigint PRIMARY KEY,      -- of study or one of its heirs
    due      boolean NOT NULL DEFAULT true,
    runs     bigint[]
);
ALTER TABLE infix ALTER COLUMN runs SET STORAGE EXTERNAL, ALTER COLUMN runs SET STATISTICS 400;

CREATE FUNCTION infix_due() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        -- A row that goes from one of the tables to the other keeps its id.
        DELETE FROM index.infix f WHERE f.study_id = OLD.id
            AND NOT EXISTS (SELECT FROM index.study s WHERE s.id = OLD.id);
        RETURN NULL;
    END IF;
    INSERT INTO index.infix AS f (study_id) VALUES (NEW.id)
        ON CONFLICT (study_id) DO UPDATE SET due = true, runs = NULL;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION infix_due FROM PUBLIC;

CREATE TRIGGER infix AFTER INSERT ON study FOR EACH ROW EXECUTE FUNCTION infix_due();
CREATE TRIGGER infix_anew AFTER UPDATE OF blind ON study FOR EACH ROW
    WHEN (OLD.blind IS DISTINCT FROM NEW.blind) EXECUTE FUNCTION infix_due();
CREATE TRIGGER infix_gone AFTER DELETE ON study FOR EACH ROW EXECUTE FUNCTION infix_due();
CREATE TRIGGER infix AFTER INSERT ON study_beside FOR EACH ROW EXECUTE FUNCTION infix_due();
CREATE TRIGGER infix_anew AFTER UPDATE OF blind ON study_beside FOR EACH ROW
    WHEN (OLD.blind IS DISTINCT FROM NEW.blind) EXECUTE FUNCTION infix_due();
CREATE TRIGGER infix_gone AFTER DELETE ON study_beside FOR EACH ROW EXECUTE FUNCTION infix_due();

INSERT INTO infix (study_id) SELECT id FROM study;
CREATE INDEX infix_runs ON infix USING gin (runs);
CREATE INDEX infix_unknown ON infix (study_id) WHERE runs IS NULL;
CREATE INDEX infix_due ON infix (study_id) WHERE due;
ANALYZE infix;

GRANT SELECT, UPDATE ON infix TO darkroom_metadata;
GRANT SELECT ON infix TO darkroom_api, darkroom_transmit, darkroom_print, darkroom_ingest;
