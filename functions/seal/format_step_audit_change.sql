-- The canonical text of a leaf of a change: what is sealed of a version that stands no more.
--
--     SELECT format_step_audit_change('change', 0, u, 'delete', u, u, 'a', 'b', 2, n, n, 7, NULL, '\x00')
--     FROM gen_random_uuid() AS u, localtimestamp AS n;
--
-- A JSON array, as docs/sealing.md tells. p_successor: the commitment to the version that an update made,
-- see commit_step_audit_version(). p_commitment: to who changed it and to the payload.
-- Without a SET clause, so that the planner inlines it; all that it calls is pg_catalog's.

CREATE OR REPLACE FUNCTION format_step_audit_change(
    p_kind text,
    p_leaf_index bigint,
    p_change_uuid uuid,
    p_operation text,
    p_transition_uuid uuid,
    p_step_uuid uuid,
    p_from_state text,
    p_to_state text,
    p_sort_key bigint,
    p_transition_created_at timestamp,
    p_recorded_at timestamp,
    p_recorded_xid bigint,
    p_successor bytea,
    p_commitment bytea
)
RETURNS text
LANGUAGE sql
STABLE
PARALLEL SAFE
AS $$
    SELECT pg_catalog.json_build_array(
        'step-audit 2',
        p_kind,
        p_leaf_index,
        p_change_uuid,
        p_operation,
        p_transition_uuid,
        p_step_uuid,
        p_from_state,
        p_to_state,
        p_sort_key,
        p_transition_created_at,
        p_recorded_at,
        p_recorded_xid,
        pg_catalog.encode(p_successor, 'hex'::text),
        pg_catalog.encode(p_commitment, 'hex'::text)
    )::text;
$$;

COMMENT ON FUNCTION format_step_audit_change(
    text, bigint, uuid, text, uuid, uuid, text, text, bigint, timestamp, timestamp, bigint, bytea, bytea
) IS
'The canonical text of a leaf of a change: what is sealed of a version that stands no more.';
