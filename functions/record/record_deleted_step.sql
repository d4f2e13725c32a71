-- Keeps the task and the name of a step that the engine deletes.
--
-- The function of a trigger on the engine's steps, with its owner's rights. It keeps each step, whether
-- it had a result or not: to look would read rows that others write, which fails transactions under
-- SERIALIZABLE.
-- As in create_step_result_audit(), arguments have the exact types.

CREATE OR REPLACE FUNCTION record_deleted_step()
RETURNS trigger
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO step_audit_deleted_steps (workflow_step_uuid, task_uuid, step_name)
    VALUES (
        OLD.workflow_step_uuid,
        OLD.task_uuid,
        (SELECT n.name::text FROM tasker_named_steps AS n WHERE n.named_step_uuid = OLD.named_step_uuid LIMIT 1)
    );
    RETURN NULL;
END;
$$;

-- Whoever may execute a trigger function may attach it to a table of his own and forge rows.
REVOKE EXECUTE ON FUNCTION record_deleted_step() FROM public;

COMMENT ON FUNCTION record_deleted_step() IS
'Trigger function: keeps the task and the name of a step that the engine deletes.';
