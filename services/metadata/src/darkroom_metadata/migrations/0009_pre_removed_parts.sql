-- Series and instances that were deleted by people, of studies that are still there.
ALTER TABLE removal
    ADD COLUMN series_instance_uid text,  -- empty: the whole study
    ADD COLUMN sop_instance_uid    text;  -- empty: the whole series

-- Their objects, until they are restored or purged. Rows of the index are made of them again.
CREATE TABLE removed_object (
    removal    text NOT NULL REFERENCES removal (id) ON DELETE CASCADE,
    object_key text NOT NULL,
    item       jsonb,  -- as it is told when it is restored; empty: what a conflict had set aside
    PRIMARY KEY (removal, object_key)
);
CREATE INDEX removed_object_key ON removed_object (object_key);

GRANT SELECT, INSERT, UPDATE, DELETE ON removed_object TO darkroom_metadata;
GRANT SELECT ON removed_object TO darkroom_api;
