-- The audited results of one task's steps, newest first, each with its full result.
--
--     SELECT recorded_at, step_name, worker_uuid, success FROM get_task_audit_history('0199f3a2-...');
--
-- Columns as in list_step_audits(). Runs with the caller's rights. An unknown task gives no rows.

CREATE OR REPLACE FUNCTION get_task_audit_history(p_task_uuid uuid)
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
LANGUAGE sql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
    SELECT * FROM list_step_audits(p_task_uuid => p_task_uuid, p_limit => NULL) WHERE p_task_uuid IS NOT NULL;
$$;

COMMENT ON FUNCTION get_task_audit_history(uuid) IS
'Audited results of one task, newest first, each with its full result.';
