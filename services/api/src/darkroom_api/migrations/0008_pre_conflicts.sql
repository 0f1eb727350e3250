-- Permissions of conflicts: see them, and decide about them.
INSERT INTO role_permission (role, permission) VALUES
    ('medical_admin', 'conflicts:read'), ('medical_admin', 'conflicts:write'),
    ('radiologist', 'conflicts:read'), ('technician', 'conflicts:read');
