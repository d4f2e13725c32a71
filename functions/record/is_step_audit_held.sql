-- Whether an active hold covers a record: by the audit rows of its transition, by its task or its step's.
--
--     SELECT is_step_audit_held('0199f3a2-...', '0199f3a1-...', NULL);
--
-- p_step_uuid, p_task_uuid: of the record, where it has them. A hold is active until a release names it, or
-- the hold that it extends. One of a correlation id covers the results that name it, and the tasks to which
-- the engine gives it; a hold that extends it keeps those that the engine deletes.
-- OFFSET 0 keeps the order: from the record to its holds, whatever the statistics say, and never from all
-- holds to the record.

CREATE OR REPLACE FUNCTION is_step_audit_held(p_transition_uuid uuid, p_step_uuid uuid, p_task_uuid uuid)
RETURNS boolean
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
BEGIN
    -- For nearly all records this is all.
    IF NOT EXISTS (SELECT FROM step_audit_events AS h WHERE h.kind = 'hold') THEN
        RETURN FALSE;
    END IF;
    RETURN EXISTS (
        WITH tasks AS (
            SELECT a.task_uuid
            FROM tasker_workflow_step_result_audit AS a
            WHERE a.workflow_step_transition_uuid = p_transition_uuid
            UNION ALL
            SELECT p_task_uuid
            UNION ALL
            SELECT s.task_uuid
            FROM tasker_workflow_steps AS s
            WHERE s.workflow_step_uuid = p_step_uuid
            UNION ALL
            SELECT d.task_uuid
            FROM step_audit_deleted_steps AS d
            WHERE d.workflow_step_uuid = p_step_uuid
        )

        SELECT FROM (
            SELECT
                coalesce(h.extends, h.step_audit_event_uuid) AS hold,
                CASE WHEN h.extends IS NULL THEN h.task_uuid END AS task_uuid
            FROM tasks AS t
            CROSS JOIN LATERAL (
                SELECT
                    e.step_audit_event_uuid,
                    e.task_uuid,
                    x.extends
                FROM step_audit_events AS e
                CROSS JOIN LATERAL pg_catalog.jsonb_to_record(e.payload) AS x (extends uuid)
                WHERE e.kind = 'hold' AND e.task_uuid = t.task_uuid
                OFFSET 0
            ) AS h
            UNION ALL
            SELECT
                h.step_audit_event_uuid,
                NULL
            FROM (
                SELECT a.correlation_id::text AS correlation_id
                FROM tasker_workflow_step_result_audit AS a
                WHERE a.workflow_step_transition_uuid = p_transition_uuid
                UNION ALL
                SELECT k.correlation_id::text
                FROM tasks AS t
                JOIN tasker_tasks AS k ON t.task_uuid = k.task_uuid
            ) AS c
            CROSS JOIN LATERAL (
                SELECT e.step_audit_event_uuid
                FROM step_audit_events AS e
                WHERE
                    e.kind = 'hold'
                    AND e.task_uuid IS NULL
                    AND e.payload ->> 'correlation_id'::text = c.correlation_id
                OFFSET 0
            ) AS h
        ) AS held
        WHERE NOT is_step_audit_released(held.hold, held.task_uuid)
    );
END;
$$;

COMMENT ON FUNCTION is_step_audit_held(uuid, uuid, uuid) IS
'Whether an active hold covers a record.';
