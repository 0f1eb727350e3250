-- Jobs are of a destination, not of its name: another one of that name gets nothing of theirs.
-- Empty is what an earlier version has added: of whichever has the name.
ALTER TABLE destination ADD COLUMN id text NOT NULL DEFAULT gen_random_uuid()::text;
CREATE UNIQUE INDEX destination_id ON destination (id);
ALTER TABLE job ADD COLUMN destination_id text NOT NULL DEFAULT '';
ALTER TABLE retrieve ADD COLUMN remote_id text NOT NULL DEFAULT '';
ALTER TABLE prefetch ADD COLUMN remote_id text NOT NULL DEFAULT '';
UPDATE job SET destination_id = d.id FROM destination d WHERE d.name = job.destination;
UPDATE retrieve SET remote_id = d.id FROM destination d WHERE d.name = retrieve.remote;
UPDATE prefetch SET remote_id = d.id FROM destination d WHERE d.name = prefetch.remote;
GRANT SELECT (id) ON destination TO darkroom_api;

-- As whom a destination has reported, where that is not its AE title.
ALTER TABLE commitment ADD COLUMN reported_as text NOT NULL DEFAULT '';
