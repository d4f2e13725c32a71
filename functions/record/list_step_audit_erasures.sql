-- What an erasure would touch, transition by transition: before it, and to see what is left of it.
--
--     SELECT * FROM list_step_audit_erasures(p_task_uuid => '0199f3a2-...');
--
-- One of the three is given: a task, a correlation id, or an audit row. By correlation id are meant the
-- results that name it, and those of tasks to which the engine gives it; what operators did belongs to
-- its task. leaves: how many would be erased, 0 where all of it is. transitions, changes, anomalies,
-- events: rows whose payload would become empty. refusal, hint: see plan_step_audit_erasure(). A role
-- that may execute it needs no right on any table.
-- As in the trigger, arguments have the exact types.

CREATE OR REPLACE FUNCTION list_step_audit_erasures(
    p_task_uuid uuid DEFAULT NULL,
    p_correlation_id uuid DEFAULT NULL,
    p_audit_uuid uuid DEFAULT NULL
)
RETURNS TABLE (
    workflow_step_transition_uuid uuid,
    leaves bigint,
    transitions bigint,
    changes bigint,
    anomalies bigint,
    events bigint,
    refusal text,
    hint text
)
LANGUAGE plpgsql
STABLE
SECURITY DEFINER
SET search_path FROM CURRENT
SET row_security = off
AS $$
#variable_conflict use_column
DECLARE
    v_task_uuids uuid[] := ARRAY[p_task_uuid];
BEGIN
    IF pg_catalog.num_nonnulls(VARIADIC ARRAY[p_task_uuid, p_correlation_id, p_audit_uuid]) <> 1 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'what is to be erased is not clear; nothing was erased',
            HINT = 'Give one of p_task_uuid, p_correlation_id and p_audit_uuid.';
    END IF;
    IF p_correlation_id IS NOT NULL THEN
        SELECT pg_catalog.array_agg(k.task_uuid) INTO v_task_uuids
        FROM tasker_tasks AS k
        WHERE k.correlation_id = p_correlation_id;
    END IF;

    RETURN QUERY
    SELECT
        t.transition_uuid,
        coalesce(pg_catalog.jsonb_array_length(p.leaves), 0)::bigint,
        p.transitions,
        p.changes,
        p.anomalies,
        p.events,
        p.refusal,
        p.hint
    FROM (
        SELECT a.workflow_step_transition_uuid AS transition_uuid
        FROM tasker_workflow_step_result_audit AS a
        WHERE a.task_uuid = ANY(v_task_uuids)
        UNION
        SELECT a.workflow_step_transition_uuid
        FROM tasker_workflow_step_result_audit AS a
        WHERE a.correlation_id = p_correlation_id
        UNION
        SELECT a.workflow_step_transition_uuid
        FROM tasker_workflow_step_result_audit AS a
        WHERE a.workflow_step_result_audit_uuid = p_audit_uuid
        UNION
        SELECT e.workflow_step_transition_uuid
        FROM step_audit_events AS e
        WHERE e.kind = 'operator action' AND e.task_uuid = ANY(v_task_uuids)
    ) AS t
    CROSS JOIN LATERAL plan_step_audit_erasure(t.transition_uuid) AS p
    ORDER BY t.transition_uuid;
END;
$$;

-- It tells of results by their keys, without a right to read them.
REVOKE EXECUTE ON FUNCTION list_step_audit_erasures(uuid, uuid, uuid) FROM public;

COMMENT ON FUNCTION list_step_audit_erasures(uuid, uuid, uuid) IS
'What an erasure by task, correlation id or audit row would touch, transition by transition.';
