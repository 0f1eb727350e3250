-- Permissions of the operator's desk: quarantine, dead letters, verification, settings.
INSERT INTO role_permission (role, permission) VALUES
    ('medical_admin', 'quarantine:read'), ('medical_admin', 'quarantine:write'),
    ('medical_admin', 'dead_letters:read'), ('medical_admin', 'dead_letters:write'),
    ('medical_admin', 'verification:read'), ('medical_admin', 'settings:read');
