-- Performed procedure steps that have ended, and the dose reports that are to be made of them or
-- were made (DARKROOM_DOSE_REPORT_MINUTES). Writer and reader: darkroom_api.

CREATE TABLE dose_report (
    step                text PRIMARY KEY,      -- SOP instance UID of the performed step
    sop_instance_uid    text NOT NULL,         -- of the report, the same however often it is tried
    series_instance_uid text NOT NULL,
    state               text NOT NULL DEFAULT 'WAITING'
                        CHECK (state IN ('WAITING', 'MADE', 'NONE', 'FAILED')),
    reason              text NOT NULL DEFAULT '',
    attempts            integer NOT NULL DEFAULT 0,
    due_at              timestamptz NOT NULL,
    created_at          timestamptz NOT NULL   -- by the clock of the process: it stands in the report
);
CREATE INDEX dose_report_due ON dose_report (due_at) WHERE state = 'WAITING';
CREATE INDEX dose_report_oldest ON dose_report (created_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON dose_report TO darkroom_api;
