-- Jobs are of a printer, not of its name: another one of that name prints none of them.
-- Empty is what an earlier version has added: of whichever has the name.
ALTER TABLE printer ADD COLUMN id text NOT NULL DEFAULT gen_random_uuid()::text;
CREATE UNIQUE INDEX printer_id ON printer (id);
ALTER TABLE job ADD COLUMN printer_id text NOT NULL DEFAULT '';
UPDATE job SET printer_id = p.id FROM printer p WHERE p.name = job.printer;
