-- Each of two stores is read back on a schedule of its own.
-- few rows: verification_run.

-- in_slow: the object was seen in the slow store of two, and not in the fast one, when it was last
-- looked for. Old code leaves it alone; what is wrong is mended by the next comparison with the store.
ALTER TABLE instance ADD COLUMN in_slow boolean NOT NULL DEFAULT false;
ALTER TABLE conflict ADD COLUMN in_slow boolean NOT NULL DEFAULT false;

-- What is written anew lies in the fast store, whoever has written it.
CREATE FUNCTION written_anew() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.in_slow := false;
    RETURN NEW;
END $$;
CREATE TRIGGER written_anew BEFORE UPDATE OF object_key ON instance FOR EACH ROW
    WHEN (OLD.object_key IS DISTINCT FROM NEW.object_key) EXECUTE FUNCTION written_anew();
CREATE TRIGGER written_anew BEFORE UPDATE OF object_key ON conflict FOR EACH ROW
    WHEN (OLD.object_key IS DISTINCT FROM NEW.object_key) EXECUTE FUNCTION written_anew();

ALTER TABLE verification_run DROP CONSTRAINT verification_run_kind_check,
    ADD CONSTRAINT verification_run_kind_check
        CHECK (kind IN ('contents', 'slow', 'rows', 'objects', 'replica'));

GRANT SELECT ON replicated TO darkroom_api;  -- when what is in each store was read back
