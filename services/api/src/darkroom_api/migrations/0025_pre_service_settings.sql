-- What each service has last started with, without what is secret. Writer and reader: darkroom_api.
CREATE TABLE service_setting (
    service     text NOT NULL,
    name        text NOT NULL,  -- of the environment variable
    value       jsonb NOT NULL,
    is_default  boolean NOT NULL,
    description text NOT NULL DEFAULT '',
    at          timestamptz NOT NULL,  -- when it had started
    PRIMARY KEY (service, name)
);

GRANT SELECT, INSERT, DELETE ON service_setting TO darkroom_api;
