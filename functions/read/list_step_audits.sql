-- Audited results, newest first, filtered and in pages.
--
--     SELECT * FROM list_step_audits(p_worker_uuid => '0199f3a2-...', p_success => FALSE, p_limit => 20);
--     SELECT * FROM list_step_audits(p_step_name => 'charge_card', p_recorded_from => now() - interval '1 day');
--
-- A filter left NULL is not applied. p_recorded_from is included, p_recorded_until is not; they are
-- timestamptz, so that a text without a zone is read in the session's, as everywhere in Postgres, while
-- recorded_at is UTC: write '2026-11-01 12:00Z', or recorded_at AT TIME ZONE 'UTC'. p_changed: another
-- version of the result stood before; p_deleted: none stands any more; p_manual: an operator completed or
-- resolved the step, whichever of its results was meant, or did what was erased. For the next page give the
-- last row's recorded_at, sort_key and workflow_step_result_audit_uuid as p_before_recorded_at,
-- p_before_sort_key and p_before_audit_uuid; a full page says by a notice that there may be one. p_limit
-- NULL: all rows. Rows of the type step_audit. Runs with the caller's rights.
--
-- What a page costs: without a filter, by time and by p_success => FALSE, the page. By step, task or
-- correlation id, all that they have. By worker, step name, p_changed, p_deleted or p_manual, the page if
-- what they let through has its part in the newest results, of which a hundred times the page are looked
-- at; if not, all that the worker has, all results of the steps of that name, all changes, or all operator
-- actions. No index knows the execution time, p_success => TRUE, or FALSE of the others: where few records
-- match, give another filter or a time range too, or the whole table is read.

CREATE OR REPLACE FUNCTION list_step_audits(
    p_audit_uuid uuid DEFAULT NULL,
    p_step_uuid uuid DEFAULT NULL,
    p_task_uuid uuid DEFAULT NULL,
    p_worker_uuid uuid DEFAULT NULL,
    p_correlation_id uuid DEFAULT NULL,
    p_step_name text DEFAULT NULL,
    p_success boolean DEFAULT NULL,
    p_changed boolean DEFAULT NULL,
    p_deleted boolean DEFAULT NULL,
    p_manual boolean DEFAULT NULL,
    p_recorded_from timestamptz DEFAULT NULL,
    p_recorded_until timestamptz DEFAULT NULL,
    p_min_execution_time_ms bigint DEFAULT NULL,
    p_max_execution_time_ms bigint DEFAULT NULL,
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
    v_from timestamp := p_recorded_from AT TIME ZONE 'UTC';
    v_until timestamp := p_recorded_until AT TIME ZONE 'UTC';
    v_has_key boolean := coalesce(p_audit_uuid, p_step_uuid, p_task_uuid, p_correlation_id) IS NOT NULL;
    v_in_order boolean := NOT v_has_key;
    -- Whether the records are found by what they were filtered by, and not among those of their time.
    v_by_name boolean := FALSE;
    v_by_change boolean := FALSE;
    v_by_action boolean := FALSE;
BEGIN
    IF (p_before_recorded_at IS NULL) <> (p_before_audit_uuid IS NULL) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'p_before_recorded_at and p_before_audit_uuid go together',
            HINT = 'Give both as they stand in the last row of the page before, or neither.';
    END IF;

    -- A worker lives for a while: records of one that is gone are all far from the newest, and the
    -- planner, which takes them to be everywhere, would walk through all others to find them. So it is
    -- with steps that have been renamed, and with what is rare.
    IF v_in_order AND (p_worker_uuid IS NOT NULL OR p_step_name IS NOT NULL OR p_changed OR p_deleted OR p_manual) THEN
        SELECT p_limit IS NOT NULL AND count(*) >= p_limit INTO v_in_order
        FROM (
            SELECT FROM (
                SELECT
                    a.workflow_step_transition_uuid,
                    a.workflow_step_uuid,
                    a.worker_uuid
                FROM tasker_workflow_step_result_audit AS a
                WHERE
                    (v_until IS NULL OR a.recorded_at < v_until)
                    AND (p_before_recorded_at IS NULL OR a.recorded_at <= p_before_recorded_at)
                ORDER BY a.recorded_at DESC
                LIMIT coalesce(100::bigint * p_limit, 0)
            ) AS newest
            WHERE
                (p_worker_uuid IS NULL OR newest.worker_uuid = p_worker_uuid)
                AND (
                    p_step_name IS NULL
                    OR EXISTS (
                        SELECT FROM tasker_workflow_steps AS s
                        JOIN tasker_named_steps AS n ON s.named_step_uuid = n.named_step_uuid
                        WHERE s.workflow_step_uuid = newest.workflow_step_uuid AND n.name::text = p_step_name
                    )
                    OR EXISTS (
                        SELECT FROM step_audit_deleted_steps AS d
                        WHERE d.workflow_step_uuid = newest.workflow_step_uuid AND d.step_name = p_step_name
                    )
                )
                AND (
                    coalesce(p_changed OR p_deleted, FALSE) = FALSE
                    OR EXISTS (
                        SELECT FROM step_audit_changes AS c
                        WHERE
                            c.workflow_step_transition_uuid = newest.workflow_step_transition_uuid
                            AND c.workflow_step_uuid = newest.workflow_step_uuid
                            AND (c.operation = 'update') = coalesce(p_changed, FALSE)
                    )
                )
                AND (
                    coalesce(p_manual, FALSE) = FALSE
                    OR EXISTS (
                        SELECT FROM step_audit_events AS e
                        WHERE
                            e.workflow_step_uuid = newest.workflow_step_uuid
                            AND e.kind = 'operator action'
                    )
                )
            LIMIT coalesce(p_limit, 0)
        ) AS matching;
        v_by_name := NOT v_in_order AND p_step_name IS NOT NULL;
        v_by_change := NOT v_in_order AND coalesce(p_changed OR p_deleted, FALSE);
        v_by_action := NOT v_in_order AND coalesce(p_manual, FALSE);
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
            SELECT
                c.sort_key,
                c.to_state
            FROM step_audit_changes AS c
            WHERE
                t.workflow_step_transition_uuid IS NULL
                AND c.workflow_step_transition_uuid = a.workflow_step_transition_uuid
                AND c.workflow_step_uuid = a.workflow_step_uuid
            ORDER BY c.step_audit_change_uuid DESC
            LIMIT 1
        ) AS gone ON TRUE
        -- Without a row each, and no more than the test in WHERE, where they are not used. Where they are,
        -- that test makes them inner joins, so that they can come first.
        LEFT JOIN (
            SELECT s.workflow_step_uuid
            FROM tasker_workflow_steps AS s
            JOIN tasker_named_steps AS n ON s.named_step_uuid = n.named_step_uuid
            WHERE v_by_name AND n.name::text = p_step_name
            UNION
            SELECT d.workflow_step_uuid
            FROM step_audit_deleted_steps AS d
            WHERE v_by_name AND d.step_name = p_step_name
        ) AS named ON a.workflow_step_uuid = named.workflow_step_uuid
        LEFT JOIN (
            SELECT DISTINCT
                c.workflow_step_transition_uuid,
                c.workflow_step_uuid
            FROM step_audit_changes AS c
            WHERE v_by_change
        ) AS changed
            ON
                a.workflow_step_transition_uuid = changed.workflow_step_transition_uuid
                AND a.workflow_step_uuid = changed.workflow_step_uuid
        LEFT JOIN (
            SELECT DISTINCT e.workflow_step_uuid
            FROM step_audit_events AS e
            WHERE v_by_action AND e.kind = 'operator action'
        ) AS acted ON a.workflow_step_uuid = acted.workflow_step_uuid
        WHERE
            (NOT v_by_name OR named.workflow_step_uuid IS NOT NULL)
            AND (NOT v_by_change OR changed.workflow_step_uuid IS NOT NULL)
            AND (NOT v_by_action OR acted.workflow_step_uuid IS NOT NULL)
            AND (p_audit_uuid IS NULL OR a.workflow_step_result_audit_uuid = p_audit_uuid)
            AND (p_step_uuid IS NULL OR a.workflow_step_uuid = p_step_uuid)
            AND (p_task_uuid IS NULL OR a.task_uuid = p_task_uuid)
            AND (p_worker_uuid IS NULL OR a.worker_uuid = p_worker_uuid)
            AND (p_correlation_id IS NULL OR a.correlation_id = p_correlation_id)
            AND (p_success IS NULL OR a.success = p_success)
            AND (v_from IS NULL OR a.recorded_at >= v_from)
            AND (v_until IS NULL OR a.recorded_at < v_until)
            AND (p_min_execution_time_ms IS NULL OR a.execution_time_ms >= p_min_execution_time_ms)
            AND (p_max_execution_time_ms IS NULL OR a.execution_time_ms <= p_max_execution_time_ms)
            AND (
                p_step_name IS NULL
                -- As the view step_audits names it.
                OR p_step_name = (
                    SELECT n.name::text
                    FROM tasker_workflow_steps AS s
                    LEFT JOIN tasker_named_steps AS n ON s.named_step_uuid = n.named_step_uuid
                    WHERE s.workflow_step_uuid = a.workflow_step_uuid
                )
                OR p_step_name = (
                    SELECT d.step_name
                    FROM step_audit_deleted_steps AS d
                    WHERE
                        d.workflow_step_uuid = a.workflow_step_uuid
                        AND d.step_name IS NOT NULL
                        AND NOT EXISTS (
                            SELECT FROM tasker_workflow_steps AS s WHERE s.workflow_step_uuid = a.workflow_step_uuid
                        )
                    ORDER BY d.recorded_at DESC, d.recorded_xid DESC
                    LIMIT 1
                )
            )
            AND (p_deleted IS NULL OR p_deleted = (t.workflow_step_transition_uuid IS NULL AND gone.to_state IS NOT NULL))
            AND (
                p_changed IS NULL
                OR p_changed = (
                    (
                        SELECT count(*)
                        FROM step_audit_changes AS v
                        WHERE
                            v.workflow_step_transition_uuid = a.workflow_step_transition_uuid
                            AND v.workflow_step_uuid = a.workflow_step_uuid
                            AND v.operation <> 'insert'
                    ) > CASE WHEN t.workflow_step_transition_uuid IS NULL AND gone.to_state IS NOT NULL THEN 1 ELSE 0 END
                )
            )
            AND (
                p_manual IS NULL
                OR p_manual = EXISTS (
                    SELECT FROM step_audit_events AS e
                    WHERE
                        e.workflow_step_uuid = a.workflow_step_uuid
                        AND e.kind = 'operator action'
                        AND coalesce(e.payload ->> 'action'::text IN ('CompleteManually', 'ResolveManually'), TRUE)
                )
            )
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
    uuid, uuid, uuid, uuid, uuid, text, boolean, boolean, boolean, boolean, timestamptz, timestamptz, bigint, bigint,
    timestamp, bigint, uuid, integer
) IS
'Audited results, newest first, in pages, filtered by what they are of, and by what became of them since.';
