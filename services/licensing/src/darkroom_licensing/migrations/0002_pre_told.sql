-- What the other services were told at each check: the message `licence.state.checked.v1`.
ALTER TABLE licence_check ADD COLUMN told text NOT NULL DEFAULT '';
