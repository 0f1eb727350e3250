-- How far each subscriber has got with the reports of workitems, which ingest keeps.
-- Writer: darkroom_api.

CREATE TABLE workitem_subscriber (
    ae_title   text PRIMARY KEY,
    delivered  bigint NOT NULL,     -- number of the last report that has reached it
    updated_at timestamptz NOT NULL DEFAULT now()
);

GRANT SELECT, INSERT, UPDATE ON workitem_subscriber TO darkroom_api;
