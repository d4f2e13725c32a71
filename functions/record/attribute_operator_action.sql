-- Says later who was behind an operator action, and why: an event beside the action's own.
--
--     SELECT attribute_operator_action('0199f3a2-...', 'ann', 'paid by hand', 'ticket 62');
--
-- The engine's login is all that an action knows for sure. p_transition_uuid: of the action. p_operator:
-- who it was; p_reason: why; p_source: from where that is known. All that is a claim of whoever calls
-- this, whose login is recorded with it. There may be several, none is ever changed; the newest comes
-- first. Gives the key of the event. A role that may execute it needs no right on any table.
-- As in the trigger, arguments have the exact types.

CREATE OR REPLACE FUNCTION attribute_operator_action(
    p_transition_uuid uuid,
    p_operator text,
    p_reason text DEFAULT NULL,
    p_source text DEFAULT NULL
)
RETURNS uuid
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
    v_task_uuid uuid;
    v_step_uuid uuid;
    v_event_uuid uuid;
BEGIN
    IF greatest(
        pg_catalog.length(p_operator), pg_catalog.length(p_reason), pg_catalog.length(p_source)
    ) > 2000 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'an operator, a reason and a source have 2,000 characters at most; nothing was written',
            HINT = 'Name as p_source where the rest stands.';
    END IF;
    IF coalesce(pg_catalog.btrim(p_operator), '') = '' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'an attribution names an operator, and this one is empty; nothing was written',
            HINT = 'Say as p_operator who was behind the action.';
    END IF;

    -- A purge of the action ends before, or waits for the attribution.
    PERFORM lock_step_audit_retention(p_shared => TRUE);
    SELECT
        e.task_uuid,
        e.workflow_step_uuid
    INTO v_task_uuid, v_step_uuid
    FROM step_audit_events AS e
    WHERE e.workflow_step_transition_uuid = p_transition_uuid AND e.kind = 'operator action'
    ORDER BY e.step_audit_event_uuid DESC
    LIMIT 1;
    IF NOT FOUND THEN
        RAISE invalid_parameter_value USING
            MESSAGE = pg_catalog.format(
                'transition %s is no operator action that was recorded; nothing was written',
                VARIADIC ARRAY[coalesce(p_transition_uuid::text, 'NULL')]
            ),
            HINT = 'list_operator_actions() has them, with their workflow_step_transition_uuid.';
    END IF;

    INSERT INTO step_audit_events (
        kind, task_uuid, workflow_step_uuid, workflow_step_transition_uuid, payload
    )
    VALUES (
        'attribution',
        v_task_uuid,
        v_step_uuid,
        p_transition_uuid,
        pg_catalog.jsonb_build_object('operator', p_operator, 'reason', p_reason, 'source', p_source)
    )
    RETURNING step_audit_event_uuid INTO v_event_uuid;
    RETURN v_event_uuid;
END;
$$;

-- Who may say who did it is the owner's choice.
REVOKE EXECUTE ON FUNCTION attribute_operator_action(uuid, text, text, text) FROM public;

COMMENT ON FUNCTION attribute_operator_action(uuid, text, text, text) IS
'Says later who was behind an operator action, and why: an event beside the action''s own.';
