-- Whether a step, or a task, is known: the engine has it, or something is recorded of it.
--
--     SELECT is_step_audit_subject(p_step_uuid => '0199f3a2-...');
--
-- Both given: whether the step is known, and as one of that task. What was purged is not known any more.
-- Reads by indexes. Runs with the caller's rights.

CREATE OR REPLACE FUNCTION is_step_audit_subject(p_task_uuid uuid DEFAULT NULL, p_step_uuid uuid DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
BEGIN
    IF p_step_uuid IS NOT NULL THEN
        RETURN
            EXISTS (
                SELECT FROM tasker_workflow_steps AS s
                WHERE s.workflow_step_uuid = p_step_uuid AND s.task_uuid = coalesce(p_task_uuid, s.task_uuid)
            )
            OR EXISTS (
                SELECT FROM tasker_workflow_step_result_audit AS a
                WHERE a.workflow_step_uuid = p_step_uuid AND a.task_uuid = coalesce(p_task_uuid, a.task_uuid)
            )
            OR EXISTS (
                SELECT FROM step_audit_events AS e
                WHERE
                    e.kind = 'operator action'
                    AND e.workflow_step_uuid = p_step_uuid
                    AND (p_task_uuid IS NULL OR e.task_uuid = p_task_uuid)
            );
    END IF;
    RETURN
        EXISTS (SELECT FROM tasker_tasks AS k WHERE k.task_uuid = p_task_uuid)
        OR EXISTS (SELECT FROM tasker_workflow_step_result_audit AS a WHERE a.task_uuid = p_task_uuid)
        OR EXISTS (
            SELECT FROM step_audit_events AS e
            WHERE e.kind = 'operator action' AND e.task_uuid = p_task_uuid
        );
END;
$$;

COMMENT ON FUNCTION is_step_audit_subject(uuid, uuid) IS
'Whether a step, or a task, is known: the engine has it, or something is recorded of it.';
