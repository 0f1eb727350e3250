-- Permissions of the list of senders.
INSERT INTO role_permission (role, permission) VALUES
    ('medical_admin', 'senders:read'), ('medical_admin', 'senders:write');
