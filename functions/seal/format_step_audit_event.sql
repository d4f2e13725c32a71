-- The canonical text of a leaf of an event.
--
--     SELECT format_step_audit_event('event', 0, u, 'result came again', u, u, u, n, 7, '\x00')
--     FROM gen_random_uuid() AS u, localtimestamp AS n;
--
-- A JSON array, as docs/sealing.md tells. p_commitment: to who did it and to the payload.
-- Without a SET clause, so that the planner inlines it; all that it calls is pg_catalog's.

CREATE OR REPLACE FUNCTION format_step_audit_event(
    p_kind text,
    p_leaf_index bigint,
    p_event_uuid uuid,
    p_event_kind text,
    p_task_uuid uuid,
    p_step_uuid uuid,
    p_transition_uuid uuid,
    p_recorded_at timestamp,
    p_recorded_xid bigint,
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
        p_event_uuid,
        p_event_kind,
        p_task_uuid,
        p_step_uuid,
        p_transition_uuid,
        p_recorded_at,
        p_recorded_xid,
        pg_catalog.encode(p_commitment, 'hex'::text)
    )::text;
$$;

COMMENT ON FUNCTION format_step_audit_event(
    text, bigint, uuid, text, uuid, uuid, uuid, timestamp, bigint, bytea
) IS
'The canonical text of a leaf of an event.';
