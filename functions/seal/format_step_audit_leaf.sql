-- The canonical text of a leaf: what is sealed of an audit row and of the transition it points to.
--
--     SELECT format_step_audit_leaf('result', 0, u, u, u, u, n, u, u, TRUE, FALSE, 12, n, n, 7, u, 'a', 'b', n, '\x00')
--     FROM gen_random_uuid() AS u, localtimestamp AS n;
--
-- A JSON array, as docs/sealing.md tells: the same for any time zone, date style and version of the
-- server. What is private stands in it by p_commitment, see commit_step_audit_payload(). What changes in
-- ordinary use of the engine, most_recent and updated_at, is not in it.
-- Without a SET clause, so that the planner inlines it; all that it calls is pg_catalog's.

CREATE OR REPLACE FUNCTION format_step_audit_leaf(
    p_kind text,
    p_leaf_index bigint,
    p_audit_uuid uuid,
    p_step_uuid uuid,
    p_transition_uuid uuid,
    p_task_uuid uuid,
    p_recorded_at timestamp,
    p_worker_uuid uuid,
    p_correlation_id uuid,
    p_success boolean,
    p_backfilled boolean,
    p_execution_time_ms bigint,
    p_created_at timestamp,
    p_updated_at timestamp,
    p_recorded_xid bigint,
    p_transition_step_uuid uuid,
    p_from_state text,
    p_to_state text,
    p_transition_created_at timestamp,
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
        p_audit_uuid,
        p_step_uuid,
        p_transition_uuid,
        p_task_uuid,
        p_recorded_at,
        p_worker_uuid,
        p_correlation_id,
        p_success,
        p_backfilled,
        p_execution_time_ms,
        p_created_at,
        p_updated_at,
        p_recorded_xid,
        p_transition_step_uuid,
        p_from_state,
        p_to_state,
        p_transition_created_at,
        pg_catalog.encode(p_commitment, 'hex'::text)
    )::text;
$$;

COMMENT ON FUNCTION format_step_audit_leaf(
    text, bigint, uuid, uuid, uuid, uuid, timestamp, uuid, uuid, boolean, boolean, bigint, timestamp, timestamp, bigint,
    uuid, text, text, timestamp, bytea
) IS
'The canonical text of a leaf: what is sealed of an audit row and of its transition.';
