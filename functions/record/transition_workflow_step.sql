-- Moves a workflow step to another state: one row more in the engine's transitions.
--
--     SELECT * FROM transition_workflow_step('0199f3a2-...', '{enqueued,pending}', 'in_progress', '{}');
--
-- p_from_states: where it may come from; a step without transitions is pending. Gives the state it
-- came from, and the new transition; NULL for that, and nothing written, where it may not. An unknown
-- step gives no row. Locks the step until the transaction ends, so that callers take turns.

CREATE OR REPLACE FUNCTION transition_workflow_step(
    p_step_uuid uuid,
    p_from_states text[],
    p_to_state text,
    p_metadata jsonb
)
RETURNS TABLE (from_state text, transition_uuid uuid, sort_key integer)
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    v_current_uuid uuid;
BEGIN
    PERFORM FROM tasker_workflow_steps AS s
    WHERE s.workflow_step_uuid = p_step_uuid
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;

    SELECT t.workflow_step_transition_uuid, t.to_state::text, t.sort_key + 1
    INTO v_current_uuid, from_state, sort_key
    FROM tasker_workflow_step_transitions AS t
    WHERE t.workflow_step_uuid = p_step_uuid AND t.most_recent;

    from_state := coalesce(from_state, 'pending');
    IF from_state = ANY(p_from_states) THEN
        -- By its key: the successor that an engine without this lock has written meanwhile stays
        -- the most recent, and the INSERT fails on it.
        UPDATE tasker_workflow_step_transitions AS t
        SET
            most_recent = FALSE,
            updated_at = now() AT TIME ZONE 'UTC'
        WHERE t.workflow_step_transition_uuid = v_current_uuid;

        sort_key := coalesce(sort_key, 0);
        transition_uuid := generate_step_audit_uuid();
        INSERT INTO tasker_workflow_step_transitions (
            workflow_step_transition_uuid, workflow_step_uuid, from_state, to_state, metadata,
            sort_key, most_recent, created_at, updated_at
        )
        VALUES (
            transition_uuid, p_step_uuid, from_state, p_to_state, p_metadata,
            sort_key, TRUE, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC'
        );
    END IF;
    RETURN NEXT;
END;
$$;

COMMENT ON FUNCTION transition_workflow_step(uuid, text[], text, jsonb) IS
'Moves a workflow step to another state if it is in one of those it may come from.';
