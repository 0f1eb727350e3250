-- What a sender's text is in where its objects do not say. Reader: darkroom_metadata.
ALTER TABLE calling_ae
    ADD COLUMN character_set      text CHECK (character_set <> ''),
    ADD COLUMN character_set_rule text NOT NULL DEFAULT 'undeclared'
        CHECK (character_set_rule IN ('undeclared', 'always'));

CREATE OR REPLACE VIEW sender AS
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
            'max_associations', s.max_associations,
            'character_set', s.character_set,
            'character_set_rule', s.character_set_rule
        ) AS spec,
        s.version, s.created_at, s.updated_at
    FROM calling_ae s;

GRANT USAGE ON SCHEMA ingest TO darkroom_metadata;
GRANT SELECT (ae_title, character_set, character_set_rule) ON calling_ae TO darkroom_metadata;
