-- How many results a worker, or steps of a name, had in each span of time, how many failed, and how long
-- they took.
--
--     SELECT * FROM list_step_audit_rates(p_worker_uuid => '0199f3a2-...', p_recorded_from => '2026-11-01');
--     SELECT * FROM list_step_audit_rates(p_step_name => 'charge_card', p_width => '1 hour');
--
-- Oldest span first; one without results is left out. span_start is UTC, spans are counted from midnight.
-- median_ms and p95_ms are of elapsed_ms, NULL where it is known of no result. p_recorded_from is included,
-- by default 30 days before p_recorded_until, which is not, and is now by default. No more than the newest
-- p_limit results are read, and for a step name those among the newest of ten times as many; so the
-- oldest span may have a part of its results, and spans before it none. Runs with the caller's rights.

CREATE OR REPLACE FUNCTION list_step_audit_rates(
    p_worker_uuid uuid DEFAULT NULL,
    p_step_name text DEFAULT NULL,
    p_recorded_from timestamptz DEFAULT NULL,
    p_recorded_until timestamptz DEFAULT NULL,
    p_width interval DEFAULT '1 day',
    p_limit integer DEFAULT 10000
)
RETURNS TABLE (
    span_start timestamp,
    results bigint,
    failures bigint,
    median_ms bigint,
    p95_ms bigint
)
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    v_until timestamp := coalesce(p_recorded_until, now()) AT TIME ZONE 'UTC';
    v_from timestamp := coalesce(p_recorded_from AT TIME ZONE 'UTC', v_until - interval '30 days');
BEGIN
    IF p_width NOT IN ('1 minute'::interval, '1 hour'::interval, '1 day'::interval) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('p_width is 1 minute, 1 hour or 1 day, not %s', p_width);
    END IF;

    RETURN QUERY
    WITH newest AS MATERIALIZED (
        SELECT
            a.workflow_step_result_audit_uuid,
            a.workflow_step_uuid,
            a.recorded_at
        FROM tasker_workflow_step_result_audit AS a
        WHERE
            a.recorded_at >= v_from
            AND a.recorded_at < v_until
            AND (p_worker_uuid IS NULL OR a.worker_uuid = p_worker_uuid)
        ORDER BY a.recorded_at DESC
        LIMIT CASE WHEN p_step_name IS NULL THEN p_limit ELSE 10::bigint * p_limit END
    ),

    matching AS MATERIALIZED (
        SELECT n.workflow_step_result_audit_uuid
        FROM newest AS n
        WHERE
            p_step_name IS NULL
            -- As the view step_audits names it.
            OR EXISTS (
                SELECT FROM tasker_workflow_steps AS s
                JOIN tasker_named_steps AS x ON s.named_step_uuid = x.named_step_uuid
                WHERE s.workflow_step_uuid = n.workflow_step_uuid AND x.name::text = p_step_name
            )
            OR p_step_name = (
                SELECT d.step_name
                FROM step_audit_deleted_steps AS d
                WHERE
                    d.workflow_step_uuid = n.workflow_step_uuid
                    AND d.step_name IS NOT NULL
                    AND NOT EXISTS (
                        SELECT FROM tasker_workflow_steps AS s WHERE s.workflow_step_uuid = n.workflow_step_uuid
                    )
                ORDER BY d.recorded_at DESC, d.recorded_xid DESC
                LIMIT 1
            )
        ORDER BY n.recorded_at DESC
        LIMIT p_limit
    )

    SELECT
        date_bin(p_width, a.recorded_at, '2000-01-01'::timestamp),
        count(*),
        count(*) FILTER (WHERE NOT a.success),
        percentile_disc(0.5) WITHIN GROUP (ORDER BY a.elapsed_ms),
        percentile_disc(0.95) WITHIN GROUP (ORDER BY a.elapsed_ms)
    FROM matching AS m
    JOIN step_audits AS a ON m.workflow_step_result_audit_uuid = a.workflow_step_result_audit_uuid
    GROUP BY date_bin(p_width, a.recorded_at, '2000-01-01'::timestamp)
    ORDER BY date_bin(p_width, a.recorded_at, '2000-01-01'::timestamp);
END;
$$;

COMMENT ON FUNCTION list_step_audit_rates(uuid, text, timestamptz, timestamptz, interval, integer) IS
'How many results a worker, or steps of a name, had in each span of time, how many failed, and how long they took.';
