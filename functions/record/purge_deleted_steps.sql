-- Purges what is kept of the next deleted steps: their task and their name, where no trail needs them.
--
--     SELECT * FROM purge_deleted_steps('2025-01-01', '{"reason": "7 years"}', NULL, 1000);
--
-- A part of purge_step_result_audit_batch(). Only where the step has no audit row and no operator action
-- left, and no hold covers it. p_after: last_step_uuid of the call before. last_step_uuid: NULL once there
-- are no more.
-- As in the trigger, arguments have the exact types.

CREATE OR REPLACE FUNCTION purge_deleted_steps(
    p_before timestamp,
    p_told jsonb,
    p_after uuid,
    p_limit integer,
    OUT last_step_uuid uuid,
    OUT deleted_steps bigint
)
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_after uuid := coalesce(p_after, '00000000-0000-0000-0000-000000000000');
    v_steps uuid[];
BEGIN
    SELECT
        p.workflow_step_uuid INTO last_step_uuid
    FROM step_audit_deleted_steps AS p
    WHERE p.workflow_step_uuid > v_after
    ORDER BY p.workflow_step_uuid
    LIMIT 1 OFFSET p_limit - 1;

    SELECT pg_catalog.array_agg(DISTINCT d.workflow_step_uuid) INTO v_steps
    FROM step_audit_deleted_steps AS d
    WHERE
        d.workflow_step_uuid > v_after
        AND d.workflow_step_uuid <= coalesce(last_step_uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
        AND d.recorded_at < p_before
        AND NOT EXISTS (
            SELECT FROM tasker_workflow_step_result_audit AS a
            WHERE a.workflow_step_uuid = d.workflow_step_uuid
            OFFSET 0
        )
        AND NOT EXISTS (
            SELECT FROM step_audit_events AS e
            WHERE e.kind = 'operator action' AND e.workflow_step_uuid = d.workflow_step_uuid
            OFFSET 0
        )
        AND NOT is_step_audit_held(NULL::uuid, d.workflow_step_uuid, d.task_uuid);

    deleted_steps := 0;
    IF v_steps IS NOT NULL THEN
        INSERT INTO step_audit_events (kind, payload)
        VALUES (
            'purged',
            p_told OPERATOR(pg_catalog.||) '{"leaves": "{}", "records": 0, "changes": 0, "events": 0}'::jsonb
        );
        DELETE FROM step_audit_deleted_steps AS d
        WHERE d.workflow_step_uuid = ANY(v_steps) AND d.recorded_at < p_before;
        GET DIAGNOSTICS deleted_steps = ROW_COUNT;
    END IF;
END;
$$;

COMMENT ON FUNCTION purge_deleted_steps(timestamp, jsonb, uuid, integer) IS
'Purges what is kept of the next deleted steps: their task and their name, where no trail needs them.';
