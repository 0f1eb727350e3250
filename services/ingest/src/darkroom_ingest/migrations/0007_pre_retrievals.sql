-- What a calling AE gets when it retrieves (C-GET, C-MOVE): nothing, studies of which it has sent something, or all.
ALTER TABLE calling_ae
    ADD COLUMN retrieve_rule text NOT NULL DEFAULT 'none' CHECK (retrieve_rule IN ('none', 'own', 'any'));

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
            'character_set_rule', s.character_set_rule,
            'query_rule', s.query_rule,
            'retrieve_rule', s.retrieve_rule
        ) AS spec,
        s.version, s.created_at, s.updated_at
    FROM calling_ae s;
