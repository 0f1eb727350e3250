-- Whose C-MOVE a job is (PS3.7 section 9.3.1.1): the AE title of whoever has asked, and its message.
ALTER TABLE job
    ADD COLUMN originator text NOT NULL DEFAULT '',
    ADD COLUMN originator_message_id integer NOT NULL DEFAULT 0;
