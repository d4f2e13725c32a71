-- Whether each worker result has its audit row, each audit row its result, and both say the same.
--
--     SELECT * FROM verify_step_result_audit();
--     SELECT * FROM verify_step_result_audit(p_from => '2026-11-01', p_until => '2026-12-01');
--
-- p_from (included) and p_until (not included), UTC, are compared with when the transition was
-- created, and with recorded_at for audit rows without one. p_fields => false leaves out the reading
-- of each result. finding: missing, extra, mismatch (field, what is stored, what is expected), and
-- what verify_step_audit_objects() finds of the machinery. No rows: all is as it should be. One
-- statement sees one moment, so what commits meanwhile is no finding. It needs SELECT on the tables,
-- and refuses to run where row-level security would hide rows from it.

CREATE OR REPLACE FUNCTION verify_step_result_audit(
    p_from timestamp DEFAULT NULL,
    p_until timestamp DEFAULT NULL,
    p_fields boolean DEFAULT TRUE
)
RETURNS TABLE (
    finding text,
    workflow_step_transition_uuid uuid,
    workflow_step_result_audit_uuid uuid,
    field text,
    stored text,
    expected text
)
LANGUAGE sql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
SET row_security = off
SET timezone = 'UTC'
SET plan_cache_mode = force_custom_plan
AS $$
    SELECT
        'missing',
        t.workflow_step_transition_uuid,
        NULL::uuid,
        NULL,
        NULL,
        NULL
    FROM tasker_workflow_step_transitions AS t
    WHERE
        is_worker_result(t.to_state::text)
        AND (p_from IS NULL OR t.created_at::timestamp >= p_from)
        AND (p_until IS NULL OR t.created_at::timestamp < p_until)
        AND NOT EXISTS (
            SELECT FROM tasker_workflow_step_result_audit AS a
            WHERE
                a.workflow_step_transition_uuid = t.workflow_step_transition_uuid
                AND a.workflow_step_uuid = t.workflow_step_uuid
        )
    UNION ALL
    SELECT
        'extra',
        a.workflow_step_transition_uuid,
        a.workflow_step_result_audit_uuid,
        NULL,
        NULL,
        NULL
    FROM tasker_workflow_step_result_audit AS a
    WHERE
        (p_from IS NULL OR a.recorded_at >= p_from)
        AND (p_until IS NULL OR a.recorded_at < p_until)
        AND NOT EXISTS (
            SELECT FROM tasker_workflow_step_transitions AS t
            WHERE
                t.workflow_step_transition_uuid = a.workflow_step_transition_uuid
                AND t.workflow_step_uuid = a.workflow_step_uuid
                AND is_worker_result(t.to_state::text)
        )
    UNION ALL
    SELECT
        'mismatch',
        a.workflow_step_transition_uuid,
        a.workflow_step_result_audit_uuid,
        m.field,
        m.stored,
        m.expected
    FROM tasker_workflow_step_transitions AS t
    JOIN tasker_workflow_step_result_audit AS a
        ON
            t.workflow_step_transition_uuid = a.workflow_step_transition_uuid
            AND t.workflow_step_uuid = a.workflow_step_uuid
    LEFT JOIN tasker_workflow_steps AS s ON t.workflow_step_uuid = s.workflow_step_uuid
    CROSS JOIN LATERAL read_step_result(t.to_state::text, t.metadata) AS r
    CROSS JOIN LATERAL (
        SELECT
            CASE
                WHEN a.backfilled AND t.created_at::timestamp BETWEEN '0001-01-01' AND '9999-12-31 23:59:59.999999'
                    THEN t.created_at::timestamp
                ELSE a.created_at
            END AS recorded_at,
            (
                SELECT jsonb_object_agg(n.field, jsonb_build_array(n.raw_value, n.reason))
                FROM tasker_workflow_step_result_audit_anomalies AS n
                WHERE n.workflow_step_result_audit_uuid = a.workflow_step_result_audit_uuid
            ) AS stored_anomalies,
            (
                SELECT jsonb_object_agg(n.field, jsonb_build_array(n.raw_value, n.reason))
                FROM jsonb_to_recordset(r.anomalies) AS n (field text, raw_value text, reason text)
            ) AS anomalies
    ) AS o
    CROSS JOIN LATERAL (
        VALUES
        ('task_uuid', a.task_uuid::text, s.task_uuid::text),
        ('worker_uuid', a.worker_uuid::text, r.worker_uuid::text),
        ('correlation_id', a.correlation_id::text, r.correlation_id::text),
        ('success', a.success::text, r.success::text),
        ('execution_time_ms', a.execution_time_ms::text, r.execution_time_ms::text),
        ('recorded_at', a.recorded_at::text, o.recorded_at::text),
        ('updated_at', a.updated_at::text, a.created_at::text),
        ('anomalies', o.stored_anomalies::text, o.anomalies::text)
    ) AS m (field, stored, expected)
    WHERE
        p_fields
        AND is_worker_result(t.to_state::text)
        AND (p_from IS NULL OR t.created_at::timestamp >= p_from)
        AND (p_until IS NULL OR t.created_at::timestamp < p_until)
        AND m.stored IS DISTINCT FROM m.expected
    UNION ALL
    SELECT
        v.finding,
        NULL,
        NULL,
        v.field,
        v.stored,
        v.expected
    FROM verify_step_audit_objects() AS v;
$$;

COMMENT ON FUNCTION verify_step_result_audit(timestamp, timestamp, boolean) IS
'Findings: results without audit row, audit rows without result, fields that differ, machinery that was changed.';
