-- Where the frames of compressed pixel data are: 8 bytes for the first, 4 for the length of each, little
-- endian. Empty: they are not compressed, lie in no simple order, or were indexed before; a reindex fills it.
ALTER TABLE instance ADD COLUMN frame_places bytea;
ALTER TABLE edited ADD COLUMN frame_places bytea;
