-- What the built-in roles may do with other nodes: ask, retrieve, tell of procedure steps.

INSERT INTO role_permission (role, permission) VALUES
    ('medical_admin', 'remote:query'), ('medical_admin', 'remote:retrieve'),
    ('medical_admin', 'mpps:read'), ('medical_admin', 'mpps:write'),
    ('radiologist', 'remote:query'), ('radiologist', 'remote:retrieve'),
    ('radiologist', 'mpps:read'), ('radiologist', 'mpps:write'),
    ('technician', 'remote:query'), ('technician', 'mpps:read'),
    ('technician', 'mpps:write');
