-- Film has names of patients, too: what a sender's text is in where its objects do not say.
GRANT USAGE ON SCHEMA ingest TO darkroom_print;
GRANT SELECT (ae_title, character_set, character_set_rule) ON calling_ae TO darkroom_print;
