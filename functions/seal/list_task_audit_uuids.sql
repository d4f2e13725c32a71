-- The keys of one task's audit rows, the oldest first: what there is to prove of it.
--
--     SELECT p.* FROM list_task_audit_uuids('0199f3a2-...') AS a, get_step_audit_proof(a, 1000) AS p;
--
-- It reads no result, so that one which cannot be printed hides none of the others. Rows that are not
-- sealed yet are among them. Runs with the caller's rights. An unknown task gives no rows.

CREATE OR REPLACE FUNCTION list_task_audit_uuids(p_task_uuid uuid)
RETURNS SETOF uuid
LANGUAGE sql
STABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
    SELECT a.workflow_step_result_audit_uuid
    FROM tasker_workflow_step_result_audit AS a
    WHERE a.task_uuid = p_task_uuid
    ORDER BY a.recorded_at, a.workflow_step_result_audit_uuid;
$$;

COMMENT ON FUNCTION list_task_audit_uuids(uuid) IS
'The keys of one task''s audit rows, the oldest first.';
