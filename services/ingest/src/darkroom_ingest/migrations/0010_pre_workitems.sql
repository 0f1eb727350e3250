-- Workitems (PS3.4 annex CC), who is told of them, and what they are told. An entry of the worklist
-- is a workitem, too: its UID is made of its id. Who the patient is stands in `sealed` only, as the
-- attributes of DICOM JSON. Writer: darkroom_ingest. Reader: darkroom_api.

CREATE TABLE workitem (
    sop_instance_uid text PRIMARY KEY,
    version          bigint NOT NULL DEFAULT 1,
    state            text NOT NULL
                     CHECK (state IN ('SCHEDULED', 'IN PROGRESS', 'COMPLETED', 'CANCELED')),
    readiness        text NOT NULL,        -- (0040,4041)
    scheduled_at     timestamptz NOT NULL, -- by the clock of the department, as if that were UTC
    patient_key      bytea,                -- blind token of the patient's id; null: there is none
    transaction_key  bytea,                -- blind token of the lock; null: nobody has claimed it
    sealed           text NOT NULL,
    requested_by     text NOT NULL DEFAULT '',
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX workitem_scheduled ON workitem (scheduled_at, sop_instance_uid);
CREATE INDEX workitem_ended ON workitem (updated_at) WHERE state IN ('COMPLETED', 'CANCELED');
CREATE INDEX workitem_patient ON workitem (patient_key) WHERE patient_key IS NOT NULL;

CREATE TABLE workitem_gone (  -- was there: 410
    sop_instance_uid text PRIMARY KEY,
    gone_at          timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX workitem_gone_at ON workitem_gone (gone_at);

CREATE TABLE subscription (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ae_title      text NOT NULL,
    target        text NOT NULL,         -- UID of a workitem, of the worklist, or of the filtered one
    deletion_lock boolean NOT NULL,
    sealed        text NOT NULL DEFAULT '',  -- the filter, which may name a patient
    requested_by  text NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (ae_title, target)
);
CREATE INDEX subscription_target ON subscription (target, ae_title);

CREATE TABLE workitem_report (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number           bigint,               -- given when it is committed: readers go by it
    ae_title         text NOT NULL,
    sop_instance_uid text NOT NULL,
    event_type       smallint NOT NULL CHECK (event_type BETWEEN 1 AND 5),
    state            text NOT NULL,
    readiness        text NOT NULL,
    sealed           text NOT NULL DEFAULT '',
    created_at       timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX workitem_report_next ON workitem_report (ae_title, number);
CREATE UNIQUE INDEX workitem_report_newest ON workitem_report (number);
CREATE INDEX workitem_report_oldest ON workitem_report (created_at);
CREATE SEQUENCE workitem_report_number;

-- Numbers are given at the end of the transaction and one transaction at a time, so that who has
-- read up to a number has missed none. Nothing else is locked behind this lock.
CREATE FUNCTION number_reports() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('darkroom workitem reports', 0));
    UPDATE ingest.workitem_report SET number = nextval('ingest.workitem_report_number')
        WHERE id = NEW.id;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER workitem_report_numbered AFTER INSERT ON workitem_report
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION number_reports();

CREATE FUNCTION workitem_uid(id text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    number numeric := 0;
BEGIN
    FOR digit IN 1..length(id) LOOP
        number := number * 16 + strpos('0123456789abcdef', substr(id, digit, 1)) - 1;
    END LOOP;
    RETURN '2.25.' || number;
END $$;

-- What an entry of the worklist becomes is told as of a workitem, whoever writes it.
CREATE FUNCTION entry_told() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    uid text := ingest.workitem_uid(NEW.id);
    now_in text := CASE NEW.state WHEN 'STARTED' THEN 'IN PROGRESS' WHEN 'COMPLETED' THEN 'COMPLETED'
        WHEN 'DISCONTINUED' THEN 'CANCELED' WHEN 'CANCELLED' THEN 'CANCELED' ELSE 'SCHEDULED' END;
    was_in text := '';
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM pg_advisory_xact_lock_shared(hashtextextended('darkroom subscriptions', 0));
        INSERT INTO ingest.subscription (ae_title, target, deletion_lock, requested_by)
            SELECT ae_title, uid, false, requested_by FROM ingest.subscription
            WHERE target = '1.2.840.10008.5.1.4.34.5' FOR SHARE ON CONFLICT DO NOTHING;
    ELSE
        was_in := CASE OLD.state WHEN 'STARTED' THEN 'IN PROGRESS' WHEN 'COMPLETED' THEN 'COMPLETED'
            WHEN 'DISCONTINUED' THEN 'CANCELED' WHEN 'CANCELLED' THEN 'CANCELED' ELSE 'SCHEDULED' END;
    END IF;
    IF now_in <> was_in THEN
        INSERT INTO ingest.workitem_report (ae_title, sop_instance_uid, event_type, state, readiness)
            SELECT ae_title, uid, 1, now_in, 'READY' FROM ingest.subscription WHERE target = uid;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER worklist_told AFTER INSERT OR UPDATE OF state ON worklist
    FOR EACH ROW EXECUTE FUNCTION entry_told();
CREATE FUNCTION entry_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM ingest.subscription WHERE target = ingest.workitem_uid(OLD.id);
    RETURN NULL;
END $$;
CREATE TRIGGER worklist_gone AFTER DELETE ON worklist
    FOR EACH ROW EXECUTE FUNCTION entry_gone();

GRANT SELECT, INSERT, UPDATE, DELETE ON workitem, workitem_gone, subscription, workitem_report
    TO darkroom_ingest;
GRANT USAGE ON SEQUENCE workitem_report_number TO darkroom_ingest;
GRANT SELECT ON workitem, workitem_gone, subscription, workitem_report TO darkroom_api;
