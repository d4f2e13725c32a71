-- All transitions of a task's steps, oldest first, each with what its event carries and its audit row.
--
--     SELECT created_at, step_name, to_state, success, payload FROM list_task_transitions('0199f3a2-...');
--
-- A result that the engine has deleted is listed by its audit row, at the time of its recording; no other
-- transition that it has deleted is known. payload is the full result, or what else the event carries, cut
-- after p_payload_characters where they are given; payload_characters counts all of them. created_at is
-- UTC; what lies beyond what a date can say, infinity too, is shown as the first moment of year 1 or the
-- last of year 9999. sort_key of what is gone without a trace is the least number. For the next page give the last
-- row's created_at, sort_key and workflow_step_transition_uuid. p_transition_uuid: that transition alone.
-- All transitions of the task are sorted for each page, and only the page's payloads read. Runs with the
-- caller's rights.

CREATE OR REPLACE FUNCTION list_task_transitions(
    p_task_uuid uuid,
    p_transition_uuid uuid DEFAULT NULL,
    p_after_created_at timestamp DEFAULT NULL,
    p_after_sort_key bigint DEFAULT NULL,
    p_after_transition_uuid uuid DEFAULT NULL,
    p_payload_characters integer DEFAULT NULL,
    p_limit integer DEFAULT 100
)
RETURNS TABLE (
    created_at timestamp,
    sort_key bigint,
    workflow_step_transition_uuid uuid,
    workflow_step_uuid uuid,
    step_name text,
    from_state text,
    to_state text,
    workflow_step_result_audit_uuid uuid,
    recorded_at timestamp,
    recorded_by text,
    backfilled boolean,
    worker_uuid uuid,
    correlation_id uuid,
    success boolean,
    elapsed_ms bigint,
    execution_time_ms bigint,
    changes bigint,
    deleted boolean,
    payload text,
    payload_characters bigint
)
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH known AS (
        SELECT
            get_utc_time(t.created_at) AS created_at,
            t.sort_key::bigint AS sort_key,
            t.workflow_step_transition_uuid,
            t.workflow_step_uuid
        FROM tasker_workflow_steps AS s
        JOIN tasker_workflow_step_transitions AS t ON s.workflow_step_uuid = t.workflow_step_uuid
        WHERE s.task_uuid = p_task_uuid
        UNION ALL
        SELECT
            a.recorded_at,
            coalesce(a.sort_key, -9223372036854775808),
            a.workflow_step_transition_uuid,
            a.workflow_step_uuid
        FROM step_audits AS a
        WHERE
            a.task_uuid = p_task_uuid
            AND NOT EXISTS (
                SELECT FROM tasker_workflow_step_transitions AS t
                JOIN tasker_workflow_steps AS s ON t.workflow_step_uuid = s.workflow_step_uuid
                WHERE
                    t.workflow_step_transition_uuid = a.workflow_step_transition_uuid
                    AND t.workflow_step_uuid = a.workflow_step_uuid
                    AND s.task_uuid = p_task_uuid
            )
    ),

    page AS MATERIALIZED (
        SELECT
            d.created_at,
            k.sort_key,
            k.workflow_step_transition_uuid,
            k.workflow_step_uuid
        FROM known AS k
        CROSS JOIN LATERAL (
            SELECT
                least(
                    greatest(k.created_at, '0001-01-01'::timestamp), '9999-12-31 23:59:59.999999'::timestamp
                ) AS created_at
        ) AS d
        WHERE
            (p_transition_uuid IS NULL OR k.workflow_step_transition_uuid = p_transition_uuid)
            AND (
                p_after_created_at IS NULL
                OR (d.created_at, k.sort_key, k.workflow_step_transition_uuid)
                > (p_after_created_at, p_after_sort_key, p_after_transition_uuid)
            )
        ORDER BY d.created_at, k.sort_key, k.workflow_step_transition_uuid
        LIMIT p_limit
    )

    SELECT
        p.created_at,
        p.sort_key,
        p.workflow_step_transition_uuid,
        p.workflow_step_uuid,
        coalesce(a.step_name, n.name::text),
        coalesce(a.from_state, t.from_state::text),
        coalesce(a.to_state, t.to_state::text),
        a.workflow_step_result_audit_uuid,
        a.recorded_at,
        a.recorded_by,
        a.backfilled,
        a.worker_uuid,
        a.correlation_id,
        a.success,
        a.elapsed_ms,
        a.execution_time_ms,
        coalesce(a.changes, 0),
        coalesce(a.deleted, FALSE),
        left(x.payload, coalesce(p_payload_characters, 2147483647)),
        length(x.payload)::bigint
    FROM page AS p
    LEFT JOIN tasker_workflow_step_transitions AS t
        ON
            p.workflow_step_transition_uuid = t.workflow_step_transition_uuid
            AND p.workflow_step_uuid = t.workflow_step_uuid
    LEFT JOIN tasker_workflow_steps AS s ON p.workflow_step_uuid = s.workflow_step_uuid
    LEFT JOIN tasker_named_steps AS n ON s.named_step_uuid = n.named_step_uuid
    LEFT JOIN step_audits AS a
        ON
            p.workflow_step_transition_uuid = a.workflow_step_transition_uuid
            AND p.workflow_step_uuid = a.workflow_step_uuid
    CROSS JOIN LATERAL (
        SELECT
            CASE
                WHEN t.workflow_step_transition_uuid IS NULL THEN a.result::text
                ELSE get_step_result(t.metadata, t.workflow_step_transition_uuid)::text
            END AS payload
        -- Read once.
        OFFSET 0
    ) AS x
    ORDER BY p.created_at, p.sort_key, p.workflow_step_transition_uuid;
END;
$$;

COMMENT ON FUNCTION list_task_transitions(uuid, uuid, timestamp, bigint, uuid, integer, integer) IS
'All transitions of a task''s steps, oldest first, each with what its event carries and its audit row, in pages.';
