-- By which jobs an image is printed.
CREATE INDEX job_images ON job USING gin (sop_instance_uids);
