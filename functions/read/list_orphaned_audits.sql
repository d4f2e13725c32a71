-- Audit rows whose transition the engine does not have any more.
--
--     SELECT list_orphaned_audits(p_limit => 10);
--
-- The record stands, what it points to is gone. Reads the whole audit.

CREATE OR REPLACE FUNCTION list_orphaned_audits(p_limit integer DEFAULT NULL)
RETURNS SETOF uuid
LANGUAGE sql
STABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
    SELECT a.workflow_step_result_audit_uuid
    FROM tasker_workflow_step_result_audit AS a
    WHERE NOT EXISTS (
        SELECT FROM tasker_workflow_step_transitions AS t
        WHERE t.workflow_step_transition_uuid = a.workflow_step_transition_uuid
    )
    LIMIT p_limit;
$$;

COMMENT ON FUNCTION list_orphaned_audits(integer) IS
'Audit rows whose transition the engine does not have any more.';
