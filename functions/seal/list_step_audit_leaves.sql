-- What the log holds for a range of its leaves, and what they would be sealed as now.
--
--     SELECT leaf_index, leaf_hash, leaf FROM list_step_audit_leaves(0, 256);
--
-- p_first (included) and p_until (not included) are leaf indexes. leaf: the canonical text of the
-- audit row and its transition as they are; NULL where there is no such audit row. A range is read by
-- index, so that it costs what it holds, however long the log.

CREATE OR REPLACE FUNCTION list_step_audit_leaves(p_first bigint, p_until bigint)
RETURNS TABLE (
    leaf_index bigint,
    workflow_step_result_audit_uuid uuid,
    leaf_hash bytea,
    leaf text,
    metadata text
)
LANGUAGE sql
STABLE
PARALLEL SAFE
SET search_path FROM CURRENT
SET row_security = off
SET timezone = 'UTC'
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
    SELECT
        l.leaf_index,
        l.workflow_step_result_audit_uuid,
        l.leaf_hash,
        CASE
            WHEN a.workflow_step_result_audit_uuid IS NOT NULL THEN format_step_audit_leaf(
                l.leaf_index,
                a.workflow_step_result_audit_uuid,
                a.workflow_step_uuid,
                a.workflow_step_transition_uuid,
                a.task_uuid,
                a.recorded_at,
                a.worker_uuid,
                a.correlation_id,
                a.success,
                a.backfilled,
                a.recorded_by,
                a.execution_time_ms,
                a.created_at,
                a.updated_at,
                a.recorded_xid,
                t.workflow_step_uuid,
                t.from_state::text,
                t.to_state::text,
                t.created_at::timestamp,
                t.metadata::text
            )
        END,
        t.metadata::text
    FROM step_audit_leaves AS l
    LEFT JOIN tasker_workflow_step_result_audit AS a
        ON l.workflow_step_result_audit_uuid = a.workflow_step_result_audit_uuid
    LEFT JOIN tasker_workflow_step_transitions AS t
        ON a.workflow_step_transition_uuid = t.workflow_step_transition_uuid
    WHERE l.leaf_index >= p_first AND l.leaf_index < p_until
    ORDER BY l.leaf_index;
$$;

COMMENT ON FUNCTION list_step_audit_leaves(bigint, bigint) IS
'What the log holds for a range of its leaves, and what they would be sealed as now.';
