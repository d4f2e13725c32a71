-- One batch of the backfill: audits what is missing among the next transitions in key order.
--
--     SELECT * FROM backfill_step_result_audit_batch(NULL, 1000);
--
-- p_after: the last transition of the batch before, NULL at the start. p_batch_size: how many
-- transitions to look at, of whatever state. Gives the last one looked at, NULL once there are no
-- more; how many audit rows were written; and the results that were passed over: their step is gone, so
-- they have no task to name, or their task is and the key to it is enforced. It commits nothing;
-- backfill_step_result_audit() does.
-- LIMIT, OFFSET and no sequential scan make it look up each row by index: a batch must not read the
-- whole of a table, whatever the statistics say. Its plans are generic: custom ones would be made anew
-- for each check of a foreign key too, which doubles the time. So the range is plain, without OR, and
-- each look-up has one index only that it could use, as a plan may be older than the rows.
-- Where something is locked it gives up after 500 ms, before a deadlock could be declared at the
-- engine's cost: lock_not_available, and the caller tries the batch again.
-- recorded_at is when the transition was created, unless that is no year from 1 to 9999.

CREATE OR REPLACE FUNCTION backfill_step_result_audit_batch(
    p_after uuid,
    p_batch_size integer,
    OUT last_transition_uuid uuid,
    OUT written bigint,
    OUT passed_over uuid[]
)
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET lock_timeout = '500ms'
SET timezone = 'UTC'
AS $$
DECLARE
    v_from uuid := coalesce(p_after, '00000000-0000-0000-0000-000000000000');
    v_to uuid;
    v_needs_task boolean;
BEGIN
    IF p_batch_size IS NULL OR p_batch_size < 1 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = pg_catalog.format('the batch size must be at least 1, not %s', coalesce(p_batch_size::text, 'NULL'));
    END IF;
    v_needs_task := EXISTS (
        SELECT FROM pg_constraint AS c
        WHERE
            c.conrelid = 'tasker_workflow_step_result_audit'::regclass
            AND c.conname = 'fk_audit_task'
            AND pg_get_constraintdef(c.oid) !~ 'NOT ENFORCED'
    );

    SELECT t.workflow_step_transition_uuid INTO last_transition_uuid
    FROM tasker_workflow_step_transitions AS t
    WHERE
        t.workflow_step_transition_uuid >= v_from
        AND t.workflow_step_transition_uuid IS DISTINCT FROM p_after
    ORDER BY t.workflow_step_transition_uuid
    LIMIT 1 OFFSET p_batch_size - 1;
    v_to := coalesce(last_transition_uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff');

    WITH results AS MATERIALIZED (
        SELECT
            t.workflow_step_transition_uuid,
            t.workflow_step_uuid,
            t.created_at,
            t.sort_key,
            s.task_uuid,
            read_step_result(t.to_state::text, t.metadata) AS read
        FROM (
            SELECT
                b.workflow_step_transition_uuid,
                b.workflow_step_uuid,
                b.to_state,
                b.metadata,
                b.created_at::timestamp AS created_at,
                b.sort_key
            FROM tasker_workflow_step_transitions AS b
            WHERE
                b.workflow_step_transition_uuid BETWEEN v_from AND v_to
                AND b.workflow_step_transition_uuid IS DISTINCT FROM p_after
            OFFSET 0
        ) AS t
        LEFT JOIN LATERAL (
            SELECT steps.task_uuid
            FROM tasker_workflow_steps AS steps
            WHERE
                steps.workflow_step_uuid = t.workflow_step_uuid
                AND (
                    NOT v_needs_task
                    OR EXISTS (SELECT FROM tasker_tasks AS k WHERE k.task_uuid = steps.task_uuid OFFSET 0)
                )
            LIMIT 1
        ) AS s ON TRUE
        WHERE
            is_worker_result(t.to_state::text)
            AND NOT EXISTS (
                SELECT FROM tasker_workflow_step_result_audit AS a
                WHERE
                    a.workflow_step_transition_uuid = t.workflow_step_transition_uuid
                    -- No = here, which the index of steps could serve, with all results of the step.
                    AND a.workflow_step_uuid IS NOT DISTINCT FROM t.workflow_step_uuid
                OFFSET 0
            )
            AND NOT EXISTS (
                SELECT FROM step_audit_changes AS c
                WHERE
                    c.workflow_step_transition_uuid = t.workflow_step_transition_uuid
                    AND c.workflow_step_uuid IS NOT DISTINCT FROM t.workflow_step_uuid
                    AND c.operation <> 'insert'
                OFFSET 0
            )
    ),

    -- What was changed or deleted since is audited as it was recorded: as its first change kept it.
    changed AS MATERIALIZED (
        SELECT
            g.*,
            coalesce(
                (
                    SELECT steps.task_uuid FROM tasker_workflow_steps AS steps
                    WHERE
                        steps.workflow_step_uuid = g.workflow_step_uuid
                        AND (
                            NOT v_needs_task
                            OR EXISTS (SELECT FROM tasker_tasks AS k WHERE k.task_uuid = steps.task_uuid OFFSET 0)
                        )
                    LIMIT 1
                ),
                (
                    SELECT d.task_uuid FROM step_audit_deleted_steps AS d
                    WHERE d.workflow_step_uuid = g.workflow_step_uuid AND NOT v_needs_task
                    ORDER BY d.recorded_xid DESC
                    LIMIT 1
                )
            ) AS task_uuid,
            r.worker_uuid,
            r.correlation_id,
            r.success,
            r.execution_time_ms,
            r.anomalies
        FROM (
            SELECT DISTINCT ON (c.workflow_step_transition_uuid, c.workflow_step_uuid) c.*
            FROM step_audit_changes AS c
            WHERE
                c.workflow_step_transition_uuid BETWEEN v_from AND v_to
                AND c.workflow_step_transition_uuid IS DISTINCT FROM p_after
                AND c.operation <> 'insert'
            ORDER BY c.workflow_step_transition_uuid, c.workflow_step_uuid, c.step_audit_change_uuid
        ) AS g
        CROSS JOIN LATERAL (
            SELECT j.* FROM read_step_result(g.to_state, g.metadata) AS j WHERE g.metadata_json IS NULL
            UNION ALL
            SELECT j.* FROM read_step_result(g.to_state, g.metadata_json) AS j WHERE g.metadata_json IS NOT NULL
        ) AS r
        WHERE NOT EXISTS (
            SELECT FROM tasker_workflow_step_result_audit AS a
            WHERE
                a.workflow_step_transition_uuid = g.workflow_step_transition_uuid
                AND a.workflow_step_uuid IS NOT DISTINCT FROM g.workflow_step_uuid
            OFFSET 0
        )
    ),

    found AS (
        SELECT
            r.workflow_step_uuid,
            r.workflow_step_transition_uuid,
            r.task_uuid,
            r.created_at,
            r.sort_key,
            (r.read).worker_uuid,
            (r.read).correlation_id,
            (r.read).success,
            (r.read).execution_time_ms,
            (r.read).anomalies
        FROM results AS r
        UNION ALL
        SELECT
            c.workflow_step_uuid,
            c.workflow_step_transition_uuid,
            c.task_uuid,
            c.transition_created_at,
            c.sort_key,
            c.worker_uuid,
            c.correlation_id,
            c.success,
            c.execution_time_ms,
            c.anomalies
        FROM changed AS c
    ),

    audited AS (
        INSERT INTO tasker_workflow_step_result_audit (
            workflow_step_uuid, workflow_step_transition_uuid, task_uuid, recorded_at,
            worker_uuid, correlation_id, success, backfilled, recorded_by, execution_time_ms
        )
        SELECT
            r.workflow_step_uuid,
            r.workflow_step_transition_uuid,
            r.task_uuid,
            CASE
                WHEN r.created_at BETWEEN '0001-01-01' AND '9999-12-31 23:59:59.999999' THEN r.created_at
                ELSE now() AT TIME ZONE 'UTC'
            END,
            r.worker_uuid,
            r.correlation_id,
            r.success,
            TRUE,
            NULL,
            r.execution_time_ms
        FROM found AS r
        WHERE r.task_uuid IS NOT NULL
        ORDER BY r.created_at, r.sort_key, r.workflow_step_transition_uuid
        ON CONFLICT (workflow_step_uuid, workflow_step_transition_uuid) DO NOTHING
        RETURNING workflow_step_result_audit_uuid, workflow_step_transition_uuid
    ),

    anomalous AS (
        INSERT INTO tasker_workflow_step_result_audit_anomalies (
            workflow_step_result_audit_uuid, field, raw_value, reason
        )
        SELECT
            a.workflow_step_result_audit_uuid,
            f.field,
            f.raw_value,
            f.reason
        FROM audited AS a
        JOIN found AS r ON a.workflow_step_transition_uuid = r.workflow_step_transition_uuid
        CROSS JOIN LATERAL
            jsonb_to_recordset(r.anomalies) AS f (field text, raw_value text, reason text)
        WHERE r.anomalies IS NOT NULL
    )

    SELECT
        (SELECT count(*) FROM audited),
        (SELECT array_agg(r.workflow_step_transition_uuid) FROM found AS r WHERE r.task_uuid IS NULL)
    INTO written, passed_over;
END;
$$;

COMMENT ON FUNCTION backfill_step_result_audit_batch(uuid, integer) IS
'One batch of the backfill: audits what is missing among the next transitions in key order.';
