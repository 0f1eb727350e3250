-- The trace of the association that brought a study's first instance (W3C Trace Context), so that what
-- is done with the study later can be told from it. Old code leaves it empty.
ALTER TABLE study ADD COLUMN traceparent text NOT NULL DEFAULT '';
