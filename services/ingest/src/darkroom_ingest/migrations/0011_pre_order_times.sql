-- When studies were ordered is told to the index. Writer: darkroom_ingest.

ALTER TABLE worklist ADD COLUMN told boolean NOT NULL DEFAULT false;  -- by an earlier release it is not
CREATE INDEX worklist_untold ON worklist (study_instance_uid) WHERE NOT told;
CREATE SEQUENCE order_version;

GRANT USAGE ON SEQUENCE order_version TO darkroom_ingest;
