-- Senders as a resource: what REST shows and changes, with the version that a change must know.

ALTER TABLE calling_ae
    ADD COLUMN version    bigint NOT NULL DEFAULT 1,
    ADD COLUMN created_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now();

-- Whoever changes it, also the code before: every change writes the row of calling_ae.
CREATE FUNCTION count_sender() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := OLD.version + 1;
    NEW.updated_at := now();
    RETURN NEW;
END$$;
CREATE TRIGGER count BEFORE UPDATE ON calling_ae FOR EACH ROW EXECUTE FUNCTION count_sender();

CREATE VIEW sender AS
    SELECT s.ae_title AS name,
        jsonb_build_object(
            'enabled', s.enabled,
            'description', s.description,
            'host_rule', s.host_rule,
            'hosts', (
                SELECT coalesce(jsonb_agg(jsonb_build_object(
                    'network', h.network::text, 'certificate_sha256', h.certificate_sha256)
                    ORDER BY h.network, h.certificate_sha256), '[]')
                FROM calling_ae_host h WHERE h.ae_title = s.ae_title),
            'sop_class_rule', s.sop_class_rule,
            'sop_class_uids', (
                SELECT coalesce(jsonb_agg(u.sop_class_uid ORDER BY u.sop_class_uid), '[]')
                FROM calling_ae_sop_class u WHERE u.ae_title = s.ae_title),
            'max_associations', s.max_associations
        ) AS spec,
        s.version, s.created_at, s.updated_at
    FROM calling_ae s;

GRANT SELECT ON sender TO darkroom_ingest, darkroom_api;
