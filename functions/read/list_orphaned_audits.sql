-- Audit rows whose transition stands no more, though no change says so.
--
--     SELECT list_orphaned_audits(p_limit => 10);
--
-- What the engine changes or deletes while the audit is attached is no orphan: step_audits shows it as it
-- stood last. An orphan was deleted while the triggers were away. Reads the whole audit.

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
    AND coalesce(
        (
            SELECT c.operation
            FROM step_audit_changes AS c
            WHERE
                c.workflow_step_transition_uuid = a.workflow_step_transition_uuid
                AND c.workflow_step_uuid = a.workflow_step_uuid
            ORDER BY c.step_audit_change_uuid DESC
            LIMIT 1
        ),
        'insert'
    ) = 'insert'
    LIMIT p_limit;
$$;

COMMENT ON FUNCTION list_orphaned_audits(integer) IS
'Audit rows whose transition stands no more, though no change says so.';
