-- As 0013 for physicians: studies of a status or work status are narrowed by modality in one index, without their
-- rows. Writers of the table wait for about four seconds a million studies.
CREATE INDEX listing_of_status ON listing (status, study_date DESC NULLS LAST, study_id DESC) INCLUDE (modalities);
CREATE INDEX listing_of_exam_status ON listing (exam_status, study_date DESC NULLS LAST, study_id DESC)
    INCLUDE (modalities);
DROP INDEX listing_status, listing_exam_status;
