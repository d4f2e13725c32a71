-- Notes the tasks to which the engine gives the correlation ids that are held, so that it may delete them.
--
--     SELECT extend_step_audit_holds();
--
-- A part of hold_step_result_audit() and of purge_step_result_audit_batch(). For each active hold of a
-- correlation id, a hold of each of its tasks that it does not name yet, released with it.
-- As in the trigger, arguments have the exact types.

CREATE OR REPLACE FUNCTION extend_step_audit_holds()
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
    -- For nearly all databases this is all.
    IF NOT EXISTS (SELECT FROM step_audit_events AS h WHERE h.kind = 'hold' AND h.task_uuid IS NULL) THEN
        RETURN;
    END IF;
    INSERT INTO step_audit_events (kind, task_uuid, payload)
    SELECT
        'hold',
        k.task_uuid,
        pg_catalog.jsonb_build_object('extends', h.step_audit_event_uuid)
    FROM step_audit_events AS h
    JOIN tasker_tasks AS k ON k.correlation_id::text = h.payload ->> 'correlation_id'::text
    WHERE
        h.kind = 'hold'
        AND h.task_uuid IS NULL
        AND NOT is_step_audit_released(h.step_audit_event_uuid, NULL::uuid)
        AND NOT EXISTS (
            SELECT FROM step_audit_events AS e
            WHERE
                e.kind = 'hold'
                AND e.task_uuid = k.task_uuid
                AND e.payload ->> 'extends'::text = h.step_audit_event_uuid::text
        );
END;
$$;

COMMENT ON FUNCTION extend_step_audit_holds() IS
'Notes the tasks to which the engine gives the correlation ids that are held, so that it may delete them.';
