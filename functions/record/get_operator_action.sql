-- The operator action that a transition is, or NULL: the engine, or a worker, made it.
--
--     SELECT get_operator_action('error', 'pending', 'ResetForRetry');
--
-- p_event_type: what the transition's event calls itself. Only where the engine goes the same way by
-- itself does that decide: from error to pending, and to complete from where a result is awaited or is
-- in. A step without transitions is pending.
-- Without a SET clause, so that the planner inlines it; all that it calls is pg_catalog's.

CREATE OR REPLACE FUNCTION get_operator_action(p_from_state text, p_to_state text, p_event_type text)
RETURNS text
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
AS $$
    SELECT CASE p_to_state
        WHEN 'resolved_manually' THEN 'ResolveManually'
        WHEN 'cancelled' THEN
            CASE
                WHEN p_from_state IN ('complete', 'cancelled', 'resolved_manually') THEN NULL
                ELSE 'Cancel'
            END
        WHEN 'complete' THEN
            CASE
                WHEN
                    p_event_type IS DISTINCT FROM 'CompleteManually'
                    AND p_from_state IN (
                        'in_progress', 'enqueued_for_orchestration', 'enqueued_as_error_for_orchestration'
                    )
                    THEN NULL
                ELSE 'CompleteManually'
            END
        WHEN 'pending' THEN
            CASE WHEN p_from_state = 'error' AND p_event_type = 'ResetForRetry' THEN 'ResetForRetry' END
    END;
$$;

COMMENT ON FUNCTION get_operator_action(text, text, text) IS
'The operator action that a transition is, or NULL.';
