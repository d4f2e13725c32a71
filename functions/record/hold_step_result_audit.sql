-- Holds the trail of a task, or of a correlation id: no purge and no erasure touches it until a release.
--
--     SELECT hold, records FROM hold_step_result_audit('litigation 17', 'ann', p_task_uuid => '0199f3a1-...');
--
-- p_reason: why. p_operator: who decided so, a claim; the login is recorded with it. records: how many
-- audit rows it covers by now; what comes later is held too. There may be several holds of one task. One of
-- a correlation id covers the results that name it, and all of the tasks to which the engine gives it; see
-- extend_step_audit_holds(). A dry run writes nothing, and gives no hold. A role that may execute it needs
-- no right on any table.
-- As in the trigger, arguments have the exact types.

CREATE OR REPLACE FUNCTION hold_step_result_audit(
    p_reason text,
    p_operator text DEFAULT NULL,
    p_task_uuid uuid DEFAULT NULL,
    p_correlation_id uuid DEFAULT NULL,
    p_dry_run boolean DEFAULT FALSE,
    OUT hold uuid,
    OUT records bigint
)
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM check_retention_reason(p_reason, p_operator);
    IF (p_task_uuid IS NULL) = (p_correlation_id IS NULL) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'a hold is of a task or of a correlation id, of one of them; nothing was written',
            HINT = 'Give p_task_uuid or p_correlation_id.';
    END IF;

    IF NOT p_dry_run THEN
        -- A purge that has looked for holds already ends before.
        PERFORM lock_step_audit_retention(p_shared => TRUE);
        INSERT INTO step_audit_events (kind, task_uuid, payload)
        VALUES (
            'hold',
            p_task_uuid,
            pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('correlation_id', p_correlation_id))
            OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('reason', p_reason, 'operator', p_operator)
        )
        RETURNING step_audit_event_uuid INTO hold;
        IF p_correlation_id IS NOT NULL THEN
            PERFORM extend_step_audit_holds();
        END IF;
    END IF;
    SELECT pg_catalog.count(*) INTO records
    FROM tasker_workflow_step_result_audit AS a
    WHERE
        a.task_uuid = p_task_uuid
        OR a.correlation_id = p_correlation_id
        OR a.task_uuid IN (SELECT k.task_uuid FROM tasker_tasks AS k WHERE k.correlation_id = p_correlation_id);
END;
$$;

-- Who may hold, and so keep what is to go, is the owner's choice.
REVOKE EXECUTE ON FUNCTION hold_step_result_audit(text, text, uuid, uuid, boolean) FROM public;

COMMENT ON FUNCTION hold_step_result_audit(text, text, uuid, uuid, boolean) IS
'Holds the trail of a task or correlation id: no purge and no erasure touches it until a release.';
