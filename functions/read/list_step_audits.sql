-- Audited results, newest first, filtered and in pages.
--
--     SELECT * FROM list_step_audits(p_worker_uuid => '0199f3a2-...', p_success => FALSE, p_limit => 20);
--
-- A filter left NULL is not applied. Times are UTC; p_recorded_from is included, p_recorded_until is
-- not. For the next page give the last row's recorded_at, sort_key and workflow_step_result_audit_uuid
-- as p_before_recorded_at, p_before_sort_key and p_before_audit_uuid; a full page says by a notice that
-- there may be one. p_limit NULL: all rows. Rows of the type step_audit. Runs with the caller's rights.
--
-- What a page costs: without a filter, by time and by p_success => FALSE, the page. By step, task or
-- correlation id, all that they have. By worker, the page if the worker has had its part in the newest
-- results, of which a hundred times the page are looked at; if not, all that the worker has. No index
-- knows p_min_execution_time_ms or p_success => TRUE: where few records match, give another filter or
-- a time range too, or the whole table is read.

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
    p_before_sort_key bigint DEFAULT NULL,
    p_before_audit_uuid uuid DEFAULT NULL,
    p_limit integer DEFAULT 100
)
RETURNS SETOF step_audit
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    v_rows bigint;
    -- Of a result whose transition is gone without a trace: it comes after those of its time that have theirs.
    v_no_sort_key bigint := -9223372036854775808;
    v_in_order boolean := p_step_uuid IS NULL AND p_task_uuid IS NULL AND p_correlation_id IS NULL;
BEGIN
    IF (p_before_recorded_at IS NULL) <> (p_before_audit_uuid IS NULL) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'p_before_recorded_at and p_before_audit_uuid go together',
            HINT = 'Give both as they stand in the last row of the page before, or neither.';
    END IF;

    -- A worker lives for a while: records of one that is gone are all far from the newest, and the
    -- planner, which takes them to be everywhere, would walk through all others to find them.
    IF p_worker_uuid IS NOT NULL AND p_limit IS NULL THEN
        v_in_order := FALSE;
    ELSIF p_worker_uuid IS NOT NULL AND v_in_order THEN
        SELECT count(*) FILTER (WHERE newest.worker_uuid = p_worker_uuid) >= p_limit INTO v_in_order
        FROM (
            SELECT a.worker_uuid
            FROM tasker_workflow_step_result_audit AS a
            WHERE
                (p_recorded_until IS NULL OR a.recorded_at < p_recorded_until)
                AND (p_before_recorded_at IS NULL OR a.recorded_at <= p_before_recorded_at)
            ORDER BY a.recorded_at DESC
            LIMIT 100::bigint * p_limit
        ) AS newest;
    END IF;

    RETURN QUERY
    WITH page AS MATERIALIZED (
        SELECT a.workflow_step_result_audit_uuid
        FROM tasker_workflow_step_result_audit AS a
        LEFT JOIN tasker_workflow_step_transitions AS t
            ON
                a.workflow_step_transition_uuid = t.workflow_step_transition_uuid
                AND a.workflow_step_uuid = t.workflow_step_uuid
        LEFT JOIN LATERAL (
            SELECT c.sort_key
            FROM step_audit_changes AS c
            WHERE
                t.workflow_step_transition_uuid IS NULL
                AND c.workflow_step_transition_uuid = a.workflow_step_transition_uuid
                AND c.workflow_step_uuid = a.workflow_step_uuid
            ORDER BY c.step_audit_change_uuid DESC
            LIMIT 1
        ) AS gone ON TRUE
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
                OR (
                    a.recorded_at <= p_before_recorded_at
                    AND (a.recorded_at, coalesce(t.sort_key::bigint, gone.sort_key, v_no_sort_key), a.workflow_step_result_audit_uuid)
                    < (p_before_recorded_at, coalesce(p_before_sort_key, v_no_sort_key), p_before_audit_uuid)
                )
            )
        ORDER BY
            -- No index has this order, so that one is taken which finds the records.
            CASE WHEN v_in_order THEN a.recorded_at ELSE a.recorded_at + interval '0' END DESC,
            coalesce(t.sort_key::bigint, gone.sort_key) DESC NULLS LAST,
            a.workflow_step_result_audit_uuid DESC
        LIMIT p_limit
    )

    SELECT a.*
    FROM page AS p
    JOIN step_audits AS a ON p.workflow_step_result_audit_uuid = a.workflow_step_result_audit_uuid
    ORDER BY a.recorded_at DESC, a.sort_key DESC NULLS LAST, a.workflow_step_result_audit_uuid DESC;

    GET DIAGNOSTICS v_rows = ROW_COUNT;
    IF v_rows = p_limit AND v_rows > 0 THEN
        RAISE NOTICE USING
            MESSAGE = format('this page is full with %s rows, so there may be more', v_rows),
            HINT = 'Ask for the next page by its last row, see p_before_recorded_at; or for all rows by p_limit => NULL.';
    END IF;
END;
$$;

COMMENT ON FUNCTION list_step_audits(
    uuid, uuid, uuid, uuid, uuid, boolean, timestamp, timestamp, bigint, timestamp, bigint, uuid, integer
) IS
'Audited results, newest first, filtered by step, task, worker, correlation id, success, time and duration, in pages.';
