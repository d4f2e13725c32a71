-- Audited results, newest first, filtered and in pages.
--
--     SELECT * FROM list_step_audits(p_worker_uuid => '0199f3a2-...', p_success => FALSE, p_limit => 20);
--
-- A filter left NULL is not applied. Times are UTC; p_recorded_from is included, p_recorded_until is
-- not. For the next page give the last row's recorded_at and workflow_step_result_audit_uuid as
-- p_before_recorded_at and p_before_audit_uuid. p_limit NULL: all rows. elapsed_ms is the time since
-- the step last went in_progress, NULL if that is none of the ten transitions before. Runs with the
-- caller's rights.

CREATE OR REPLACE FUNCTION list_step_audits(
    p_audit_uuid uuid DEFAULT NULL,
    p_step_uuid uuid DEFAULT NULL,
    p_task_uuid uuid DEFAULT NULL,
    p_worker_uuid uuid DEFAULT NULL,
    p_correlation_id uuid DEFAULT NULL,
    p_success boolean DEFAULT NULL,
    p_recorded_from timestamp DEFAULT NULL,
    p_recorded_until timestamp DEFAULT NULL,
    p_min_execution_time_ms bigint DEFAULT NULL,
    p_before_recorded_at timestamp DEFAULT NULL,
    p_before_audit_uuid uuid DEFAULT NULL,
    p_limit integer DEFAULT 100
)
RETURNS TABLE (
    workflow_step_result_audit_uuid uuid,
    workflow_step_uuid uuid,
    workflow_step_transition_uuid uuid,
    task_uuid uuid,
    recorded_at timestamp,
    worker_uuid uuid,
    correlation_id uuid,
    success boolean,
    backfilled boolean,
    execution_time_ms bigint,
    created_at timestamp,
    updated_at timestamp,
    elapsed_ms bigint,
    step_name text,
    from_state text,
    to_state text,
    result json
)
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
BEGIN
    IF (p_before_recorded_at IS NULL) <> (p_before_audit_uuid IS NULL) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'p_before_recorded_at and p_before_audit_uuid go together',
            HINT = 'Give both as they stand in the last row of the page before, or neither.';
    END IF;

    RETURN QUERY
    WITH page AS MATERIALIZED (
        SELECT a.*
        FROM tasker_workflow_step_result_audit AS a
        WHERE
            (p_audit_uuid IS NULL OR a.workflow_step_result_audit_uuid = p_audit_uuid)
            AND (p_step_uuid IS NULL OR a.workflow_step_uuid = p_step_uuid)
            AND (p_task_uuid IS NULL OR a.task_uuid = p_task_uuid)
            AND (p_worker_uuid IS NULL OR a.worker_uuid = p_worker_uuid)
            AND (p_correlation_id IS NULL OR a.correlation_id = p_correlation_id)
            AND (p_success IS NULL OR a.success = p_success)
            AND (p_recorded_from IS NULL OR a.recorded_at >= p_recorded_from)
            AND (p_recorded_until IS NULL OR a.recorded_at < p_recorded_until)
            AND (p_min_execution_time_ms IS NULL OR a.execution_time_ms >= p_min_execution_time_ms)
            AND (
                p_before_recorded_at IS NULL
                OR (a.recorded_at, a.workflow_step_result_audit_uuid)
                < (p_before_recorded_at, p_before_audit_uuid)
            )
        ORDER BY a.recorded_at DESC, a.workflow_step_result_audit_uuid DESC
        LIMIT p_limit
    )

    SELECT
        a.workflow_step_result_audit_uuid,
        a.workflow_step_uuid,
        a.workflow_step_transition_uuid,
        a.task_uuid,
        a.recorded_at,
        a.worker_uuid,
        a.correlation_id,
        a.success,
        a.backfilled,
        a.execution_time_ms,
        a.created_at,
        a.updated_at,
        CASE
            WHEN isfinite(t.created_at) AND isfinite(started.created_at)
                THEN round(extract(EPOCH FROM t.created_at - started.created_at) * 1000::numeric)::bigint
        END,
        n.name::text,
        t.from_state::text,
        t.to_state::text,
        get_step_result(t.metadata)
    FROM page AS a
    LEFT JOIN tasker_workflow_step_transitions AS t
        ON
            a.workflow_step_transition_uuid = t.workflow_step_transition_uuid
            AND a.workflow_step_uuid = t.workflow_step_uuid
    LEFT JOIN tasker_workflow_steps AS s ON a.workflow_step_uuid = s.workflow_step_uuid
    LEFT JOIN tasker_named_steps AS n ON s.named_step_uuid = n.named_step_uuid
    LEFT JOIN LATERAL (
        -- A result follows its start at once. Looking a little further is kind to odd engines;
        -- looking all the way would cost a step with many results and no start their square.
        SELECT before.created_at
        FROM (
            SELECT
                p.created_at,
                p.to_state,
                p.sort_key
            FROM tasker_workflow_step_transitions AS p
            WHERE
                p.workflow_step_uuid = t.workflow_step_uuid
                AND p.sort_key < t.sort_key
            ORDER BY p.sort_key DESC
            LIMIT 10
        ) AS before
        WHERE before.to_state = 'in_progress'
        ORDER BY before.sort_key DESC
        LIMIT 1
    ) AS started ON TRUE
    ORDER BY a.recorded_at DESC, a.workflow_step_result_audit_uuid DESC;
END;
$$;

COMMENT ON FUNCTION list_step_audits(
    uuid, uuid, uuid, uuid, uuid, boolean, timestamp, timestamp, bigint, timestamp, uuid, integer
) IS
'Audited results, newest first, filtered by step, task, worker, correlation id, success, time and duration, in pages.';
