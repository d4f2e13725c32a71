-- Where a workflow step stands: its task, the task's correlation id, its state.
--
--     SELECT task_uuid, correlation_id, state FROM get_workflow_step('0199f3a2-...');
--
-- A step without transitions is pending. An unknown step gives no row.

CREATE OR REPLACE FUNCTION get_workflow_step(p_step_uuid uuid)
RETURNS TABLE (task_uuid uuid, correlation_id uuid, state text)
LANGUAGE sql
STABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
    SELECT
        s.task_uuid,
        k.correlation_id,
        coalesce(t.to_state::text, 'pending')
    FROM tasker_workflow_steps AS s
    JOIN tasker_tasks AS k ON s.task_uuid = k.task_uuid
    LEFT JOIN tasker_workflow_step_transitions AS t
        ON s.workflow_step_uuid = t.workflow_step_uuid AND t.most_recent
    WHERE s.workflow_step_uuid = p_step_uuid;
$$;

COMMENT ON FUNCTION get_workflow_step(uuid) IS
'Where a workflow step stands: its task, the task''s correlation id, its state.';
