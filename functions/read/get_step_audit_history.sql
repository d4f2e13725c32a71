-- The audited results of one workflow step, newest first, each with its full result.
--
--     SELECT recorded_at, worker_uuid, success, result FROM get_step_audit_history('0199f3a2-...');
--
-- Columns as in list_step_audits(). The query is planned once a session, which takes longer than
-- to run it. Runs with the caller's rights. An unknown step gives no rows.

CREATE OR REPLACE FUNCTION get_step_audit_history(p_step_uuid uuid)
RETURNS TABLE (
    workflow_step_result_audit_uuid uuid,
    workflow_step_uuid uuid,
    workflow_step_transition_uuid uuid,
    task_uuid uuid,
    recorded_at timestamp,
    worker_uuid uuid,
    correlation_id uuid,
    success boolean,
    backfilled boolean,
    execution_time_ms bigint,
    created_at timestamp,
    updated_at timestamp,
    elapsed_ms bigint,
    step_name text,
    from_state text,
    to_state text,
    result json
)
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT
        a.workflow_step_result_audit_uuid,
        a.workflow_step_uuid,
        a.workflow_step_transition_uuid,
        a.task_uuid,
        a.recorded_at,
        a.worker_uuid,
        a.correlation_id,
        a.success,
        a.backfilled,
        a.execution_time_ms,
        a.created_at,
        a.updated_at,
        c.elapsed_ms,
        c.step_name,
        c.from_state,
        c.to_state,
        c.result
    FROM tasker_workflow_step_result_audit AS a
    LEFT JOIN LATERAL
        get_step_audit_context(a.workflow_step_transition_uuid, a.workflow_step_uuid) AS c
        ON TRUE
    WHERE a.workflow_step_uuid = p_step_uuid
    ORDER BY a.recorded_at DESC, a.workflow_step_result_audit_uuid DESC;
END;
$$;

COMMENT ON FUNCTION get_step_audit_history(uuid) IS
'Audited results of one workflow step, newest first, each with its full result.';
