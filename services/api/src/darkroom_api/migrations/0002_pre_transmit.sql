-- What the built-in roles may do with destinations and with sending.

INSERT INTO role_permission (role, permission) VALUES
    ('medical_admin', 'destinations:read'), ('medical_admin', 'destinations:write'),
    ('medical_admin', 'transmit:read'), ('medical_admin', 'transmit:send'),
    ('radiologist', 'destinations:read'), ('radiologist', 'transmit:read'),
    ('radiologist', 'transmit:send'),
    ('technician', 'destinations:read'), ('technician', 'transmit:read');
