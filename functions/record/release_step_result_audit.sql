-- Ends a hold: what no other hold covers may be purged and erased again.
--
--     SELECT release_step_result_audit('0199f3a4-...', 'litigation 17 is settled', 'ann');
--
-- p_hold: the event that the hold is, see list_step_audit_holds(); what extends it ends with it. Gives
-- the key of the event that says so; hold and release stay for ever. A role that may execute it needs no
-- right on any table.
-- As in the trigger, arguments have the exact types.

CREATE OR REPLACE FUNCTION release_step_result_audit(p_hold uuid, p_reason text, p_operator text DEFAULT NULL)
RETURNS uuid
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
    v_task_uuid uuid;
    v_event_uuid uuid;
BEGIN
    PERFORM check_retention_reason(p_reason, p_operator);
    -- Others that release it wait, and then see that it is released.
    PERFORM lock_step_audit_retention(p_shared => FALSE);
    SELECT e.task_uuid INTO v_task_uuid
    FROM step_audit_events AS e
    WHERE
        e.step_audit_event_uuid = p_hold
        AND e.kind = 'hold'
        AND e.payload ->> 'extends'::text IS NULL;
    IF NOT FOUND THEN
        RAISE invalid_parameter_value USING
            MESSAGE = pg_catalog.format(
                '%s is no hold; nothing was written', VARIADIC ARRAY[coalesce(p_hold::text, 'NULL')]
            ),
            HINT = 'list_step_audit_holds() has them.';
    END IF;
    IF is_step_audit_released(p_hold, v_task_uuid) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = pg_catalog.format(
                'hold %s is released already; nothing was written', VARIADIC ARRAY[p_hold::text]
            ),
            HINT = 'list_step_audit_holds(p_active => FALSE) says when and by whom.';
    END IF;

    INSERT INTO step_audit_events (kind, task_uuid, payload)
    VALUES (
        'release',
        v_task_uuid,
        pg_catalog.jsonb_build_object('hold', p_hold, 'reason', p_reason, 'operator', p_operator)
    )
    RETURNING step_audit_event_uuid INTO v_event_uuid;
    RETURN v_event_uuid;
END;
$$;

-- Who may release is the owner's choice.
REVOKE EXECUTE ON FUNCTION release_step_result_audit(uuid, text, text) FROM public;

COMMENT ON FUNCTION release_step_result_audit(uuid, text, text) IS
'Ends a hold: what no other hold covers may be purged and erased again.';
