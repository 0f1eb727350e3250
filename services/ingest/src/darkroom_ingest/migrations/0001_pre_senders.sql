-- Who may send. Writer: darkroom_ingest. Reader: darkroom_api.
-- Every rule that limits is explicit ('listed', 'only', 'not'): rows that are gone never mean "any".

-- AE titles are those of PS3.5 table 6.2-1: 1 to 16 printable characters without backslash.
-- In calling_ae, * stands for any run of characters and ? for one.
CREATE TABLE called_ae (
    ae_title    text PRIMARY KEY CHECK (ae_title ~ '^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$'),
    enabled     boolean NOT NULL DEFAULT true,
    description text NOT NULL DEFAULT ''
);

CREATE TABLE calling_ae (
    ae_title         text PRIMARY KEY CHECK (ae_title ~ '^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$'),
    enabled          boolean NOT NULL DEFAULT true,
    description      text NOT NULL DEFAULT '',
    host_rule        text NOT NULL CHECK (host_rule IN ('any', 'listed')),
    sop_class_rule   text NOT NULL DEFAULT 'any' CHECK (sop_class_rule IN ('any', 'only', 'not')),
    max_associations integer CHECK (max_associations > 0)  -- at a time; empty: no limit of its own
);

CREATE TABLE calling_ae_host (
    ae_title           text NOT NULL REFERENCES calling_ae ON DELETE CASCADE,
    network            cidr NOT NULL,
    certificate_sha256 text CHECK (certificate_sha256 ~ '^[0-9a-f]{64}$'),  -- of the TLS client
    UNIQUE NULLS NOT DISTINCT (ae_title, network, certificate_sha256)
);

CREATE TABLE calling_ae_sop_class (
    ae_title      text NOT NULL REFERENCES calling_ae ON DELETE CASCADE,
    sop_class_uid text NOT NULL CHECK (sop_class_uid ~ '^[0-9][0-9.]{0,63}$'),
    PRIMARY KEY (ae_title, sop_class_uid)
);

-- What was changed by whom; the service adds rows and can do nothing else to them.
CREATE TABLE ae_change (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    by       text NOT NULL,
    action   text NOT NULL CHECK (action IN ('added', 'changed', 'removed')),
    kind     text NOT NULL CHECK (kind IN ('called', 'calling')),
    ae_title text NOT NULL,
    before   jsonb,
    after    jsonb
);

-- Whoever changes the list, also by hand: ingest hears of it.
CREATE FUNCTION tell_senders() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN NOTIFY ingest_senders; RETURN NULL; END$$;
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON called_ae
    FOR EACH STATEMENT EXECUTE FUNCTION tell_senders();
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON calling_ae
    FOR EACH STATEMENT EXECUTE FUNCTION tell_senders();
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON calling_ae_host
    FOR EACH STATEMENT EXECUTE FUNCTION tell_senders();
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON calling_ae_sop_class
    FOR EACH STATEMENT EXECUTE FUNCTION tell_senders();

GRANT USAGE ON SCHEMA ingest TO darkroom_ingest, darkroom_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON called_ae, calling_ae, calling_ae_host, calling_ae_sop_class
    TO darkroom_ingest;
GRANT SELECT, INSERT ON ae_change TO darkroom_ingest;
GRANT SELECT ON called_ae, calling_ae, calling_ae_host, calling_ae_sop_class, ae_change
    TO darkroom_api;
