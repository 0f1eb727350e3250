-- Patients are searched by name and id (C-FIND of the patient root, GET /patients) without reading every row.
CREATE INDEX patient_blind ON patient USING gin (blind) WITH (gin_pending_list_limit = 256);  -- kB
