-- How often the destination has ended an association, or fallen silent, while an instance was sent.
ALTER TABLE job_instance ADD COLUMN faults integer NOT NULL DEFAULT 0;
