-- The salted commitment of a change's leaf to the version that the change made.
--
--     SELECT commit_step_audit_version(uuid_send(u), u, u, 'a', 'b', 2, localtimestamp, '{"event": null}')
--     FROM gen_random_uuid() AS u;
--
-- SHA-256 of the salt, a JSON array of the evidence, a newline, and the payload.
-- Without a SET clause, so that the planner inlines it; all that it calls is pg_catalog's.

CREATE OR REPLACE FUNCTION commit_step_audit_version(
    p_salt bytea,
    p_transition_uuid uuid,
    p_step_uuid uuid,
    p_from_state text,
    p_to_state text,
    p_sort_key bigint,
    p_created_at timestamp,
    p_payload text
)
RETURNS bytea
LANGUAGE sql
STABLE
PARALLEL SAFE
AS $$
    SELECT pg_catalog.sha256(p_salt OPERATOR(pg_catalog.||) pg_catalog.convert_to(
        pg_catalog.concat(
            pg_catalog.json_build_array(
                p_transition_uuid, p_step_uuid, p_from_state, p_to_state, p_sort_key, p_created_at
            )::text,
            E'\n'::text,
            p_payload
        ),
        'UTF8'::name
    ));
$$;

COMMENT ON FUNCTION commit_step_audit_version(bytea, uuid, uuid, text, text, bigint, timestamp, text) IS
'The salted commitment of a change''s leaf to the version that the change made.';
