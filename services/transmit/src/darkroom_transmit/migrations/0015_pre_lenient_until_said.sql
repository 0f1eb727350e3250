-- Whose certificate was good before there was `tls.strict` goes on being good; new ones are strict.
UPDATE destination SET spec = jsonb_set(spec, '{tls,strict}', 'false') WHERE spec -> 'tls' ->> 'enabled' = 'true' OR (spec ? 'tls' AND spec ->> 'url' LIKE 'https:%');
