-- Who erased the result of an audit row, when and why: the erasure after which its payload was gone.
--
--     SELECT recorded_at, recorded_by, operator, reason FROM get_step_audit_erasure('0199f3a2-...');
--
-- recorded_by is the role that did it: a fact; operator and reason are what it said. No row where it was
-- not erased. Runs with the caller's rights.

CREATE OR REPLACE FUNCTION get_step_audit_erasure(p_audit_uuid uuid)
RETURNS TABLE (
    step_audit_event_uuid uuid,
    recorded_at timestamp,
    recorded_by text,
    operator text,
    reason text
)
LANGUAGE sql
STABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
    SELECT
        e.step_audit_event_uuid,
        e.recorded_at,
        e.recorded_by,
        e.payload ->> 'operator'::text,
        e.payload ->> 'reason'::text
    FROM tasker_workflow_step_result_audit AS a
    JOIN step_audit_leaves AS l ON a.workflow_step_result_audit_uuid = l.record_uuid
    JOIN step_audit_events AS e ON a.workflow_step_transition_uuid = e.workflow_step_transition_uuid
    WHERE
        a.workflow_step_result_audit_uuid = p_audit_uuid
        AND e.kind = 'erased'
        AND e.payload @> jsonb_build_object('leaves', jsonb_build_array(jsonb_build_array(l.leaf_index)))
    ORDER BY e.step_audit_event_uuid
    LIMIT 1;
$$;

COMMENT ON FUNCTION get_step_audit_erasure(uuid) IS
'Who erased the result of an audit row, when and why.';
