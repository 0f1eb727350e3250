-- Who may say by which attributes what is stored is found, beside the usual ones (MET-05).
INSERT INTO role_permission (role, permission) VALUES
    ('medical_admin', 'tags:read'), ('medical_admin', 'tags:write');
