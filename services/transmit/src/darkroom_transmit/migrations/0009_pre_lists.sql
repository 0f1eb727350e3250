-- The newest jobs of a destination or of a remote node, however few they are among all.
CREATE INDEX job_of_destination ON job (destination, created_at DESC, id DESC);
CREATE INDEX retrieve_of_remote ON retrieve (remote, created_at DESC, id DESC);
CREATE INDEX retrieve_of_state ON retrieve (state, created_at DESC, id DESC);
