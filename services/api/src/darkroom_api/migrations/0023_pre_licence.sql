-- What licensing has told last: the message `licence.state.checked.v1`. Writer and reader: darkroom_api.
CREATE TABLE licence (
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    told        text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now()
);

GRANT SELECT, INSERT, UPDATE ON licence TO darkroom_api;
