-- The chain over the audit log. A link names some rows with their codes and has the code of the link
-- before it: no row and no link can be taken out, put in or changed without the key.

CREATE TABLE audit_link (
    number    bigint PRIMARY KEY,    -- 1, 2, 3, ...: none is left out
    linked_at timestamptz NOT NULL,
    previous  bytea NOT NULL,        -- the code of the link before
    log_ids   uuid[] NOT NULL,
    macs      bytea NOT NULL,        -- of these rows, 32 bytes each; zeros for one that was not there
    key_id    smallint NOT NULL,     -- of AUDIT_KEYS
    mac       bytea NOT NULL
);
CREATE INDEX audit_link_of_row ON audit_link USING gin (log_ids);

-- Where the chain begins since links were removed whose rows were past their retention.
CREATE TABLE audit_checkpoint (
    number     bigint PRIMARY KEY,   -- of the last link that was removed
    head       bytea NOT NULL,       -- its code
    removed    bigint NOT NULL,      -- rows, this time
    removed_at timestamptz NOT NULL,
    key_id     smallint NOT NULL,
    mac        bytea NOT NULL        -- made under the key: who lacks it cannot begin the chain anew
);

GRANT SELECT, INSERT ON audit_link TO darkroom_api;
GRANT SELECT ON audit_checkpoint TO darkroom_api;

-- The one way by which rows are removed. Whoever calls it, nothing younger than a year goes, and what
-- goes is the oldest end of the chain with nothing left out.
CREATE FUNCTION audit_expire(
    through bigint, head bytea, removed_at timestamptz, key_id smallint, mac bytea, OUT removed bigint
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    youngest CONSTANT timestamptz := now() - interval '365 days';
BEGIN
    LOCK TABLE api.audit_checkpoint IN EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM api.audit_link l WHERE l.number <= through AND l.linked_at > youngest)
        OR EXISTS (
            SELECT FROM api.audit_link l CROSS JOIN unnest(l.log_ids) AS named (id)
                JOIN api.audit_log r ON r.log_id = named.id
            WHERE l.number <= through AND r.recorded_at > youngest)
    THEN
        RAISE EXCEPTION 'the audit log is kept for a year at least' USING ERRCODE = '42501';
    END IF;
    IF NOT EXISTS (SELECT FROM api.audit_link l WHERE l.number = through AND l.mac = head) THEN
        RAISE EXCEPTION 'there is no such link' USING ERRCODE = 'P0002';
    END IF;
    DELETE FROM api.audit_log r USING api.audit_link l CROSS JOIN unnest(l.log_ids) AS named (id)
        WHERE l.number <= through AND r.log_id = named.id;
    GET DIAGNOSTICS removed = ROW_COUNT;
    DELETE FROM api.audit_link l WHERE l.number <= through;
    INSERT INTO api.audit_checkpoint VALUES (through, head, removed, removed_at, key_id, mac);
END
$$;
REVOKE ALL ON FUNCTION audit_expire FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit_expire TO darkroom_api;
