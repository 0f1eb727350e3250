-- The newest jobs of a printer or in a state, however few they are among all.
CREATE INDEX job_of_printer ON job (printer, created_at DESC, id DESC);
CREATE INDEX job_of_state ON job (state, created_at DESC, id DESC);
