-- Permissions of printing. Technicians print: the film stays in the house.
INSERT INTO role_permission (role, permission) VALUES
    ('medical_admin', 'printers:read'), ('medical_admin', 'printers:write'),
    ('medical_admin', 'print:read'), ('medical_admin', 'print:send'),
    ('radiologist', 'printers:read'), ('radiologist', 'print:read'), ('radiologist', 'print:send'),
    ('technician', 'printers:read'), ('technician', 'print:read'), ('technician', 'print:send');
