-- By whom studies were sent and of which modalities they are: to narrow by, and which values occur.
CREATE INDEX study_sources ON study USING gin (calling_ae_titles);
CREATE INDEX study_beside_sources ON study_beside USING gin (calling_ae_titles);
CREATE INDEX study_source_sets ON study (calling_ae_titles) WHERE status <> 'deleted';
CREATE INDEX study_beside_source_sets ON study_beside (calling_ae_titles)
    WHERE status <> 'deleted';
CREATE INDEX study_modality_sets ON study (modalities) WHERE status <> 'deleted';
CREATE INDEX study_beside_modality_sets ON study_beside (modalities) WHERE status <> 'deleted';
-- A token that many studies have is to be told from one that few have, so that a search walks the
-- studies by date for the one and asks the index of tokens for the other.
ALTER TABLE study ALTER COLUMN blind SET STATISTICS 400;
