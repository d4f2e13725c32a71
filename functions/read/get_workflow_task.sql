-- A task of the workflow engine, as far as the audit knows it.
--
--     SELECT correlation_id FROM get_workflow_task('0199f3a2-...');
--
-- An unknown task gives no row.

CREATE OR REPLACE FUNCTION get_workflow_task(p_task_uuid uuid)
RETURNS TABLE (task_uuid uuid, correlation_id uuid)
LANGUAGE sql
STABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
    SELECT
        t.task_uuid,
        t.correlation_id
    FROM tasker_tasks AS t
    WHERE t.task_uuid = p_task_uuid;
$$;

COMMENT ON FUNCTION get_workflow_task(uuid) IS
'A task of the workflow engine, as far as the audit knows it.';
